import type { JobProgress } from '@sendense/shared/contracts/job.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { formatDuration } from '@sendense/shared/domain/duration.ts'

type Transfer = Pick<JobProgress, 'doneBytes' | 'totalBytes' | 'bytesPerSecond'>

/** 0 to 100; null while the total is not known. */
export function transferPercent({ doneBytes, totalBytes }: Transfer): number | null {
  return totalBytes > 0 ? Math.min(100, (doneBytes / totalBytes) * 100) : null
}

/** Time left at the present rate, in milliseconds; null where total or rate are not known, or nothing is left. */
export function remainingMs({ doneBytes, totalBytes, bytesPerSecond }: Transfer): number | null {
  if (totalBytes === 0 || bytesPerSecond === 0 || doneBytes >= totalBytes) return null
  return ((totalBytes - doneBytes) / bytesPerSecond) * 1000
}

/** `1.2 GiB of 4 GiB · 182 MiB/s · about 12 s left`, without the parts that are not known. */
export function transferSentence(transfer: Transfer): string {
  const { doneBytes, totalBytes, bytesPerSecond } = transfer
  const parts: string[] = []
  if (totalBytes > 0) parts.push(`${formatByteSize(doneBytes)} of ${formatByteSize(totalBytes)}`)
  else if (doneBytes > 0) parts.push(formatByteSize(doneBytes))
  if (bytesPerSecond > 0) parts.push(`${formatByteSize(bytesPerSecond)}/s`)
  const leftMs = remainingMs(transfer)
  if (leftMs !== null) parts.push(`about ${formatDuration(Math.max(1000, Math.round(leftMs / 1000) * 1000))} left`)
  return parts.join(' · ')
}
