import type { JobProgress } from '@sendense/shared/contracts/job.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { formatDuration } from '@sendense/shared/domain/duration.ts'
import { printable } from './printable.ts'

const BAR_CELLS = 20

/** Share done, 0 to 1; undefined while the total is not known. */
export function shareDone(progress: JobProgress): number | undefined {
  return progress.totalBytes === 0 ? undefined : Math.min(1, progress.doneBytes / progress.totalBytes)
}

/** Figures of a running copy: `63 %, 320 MiB of 512 MiB, 85 MiB/s, about 3 s left`; empty before it copies. */
export function progressFigures(progress: JobProgress): string {
  const share = shareDone(progress)
  if (share === undefined) return progress.doneBytes === 0 ? '' : formatByteSize(progress.doneBytes)
  const parts = [
    `${Math.floor(share * 100)} %`,
    `${formatByteSize(progress.doneBytes)} of ${formatByteSize(progress.totalBytes)}`,
  ]
  if (progress.bytesPerSecond > 0) {
    parts.push(`${formatByteSize(progress.bytesPerSecond)}/s`)
    const left = progress.totalBytes - progress.doneBytes
    if (left > 0) parts.push(`about ${formatDuration((left / progress.bytesPerSecond) * 1000)} left`)
  }
  return parts.join(', ')
}

/** One line for a terminal of `columns`, never longer than it. */
export function progressLine(progress: JobProgress, columns: number): string {
  const share = shareDone(progress)
  const bar = share === undefined ? '' : `${barOf(share)} `
  const figures = progressFigures(progress)
  const text = `${bar}${figures === '' ? '' : `${figures}  `}${printable(progress.sentence).replaceAll('\n', ' ')}`
  return Array.from(text)
    .slice(0, Math.max(1, columns - 1))
    .join('')
}

function barOf(share: number): string {
  const full = Math.floor(share * BAR_CELLS)
  return '█'.repeat(full) + '░'.repeat(BAR_CELLS - full)
}
