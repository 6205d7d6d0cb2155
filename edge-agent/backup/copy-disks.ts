import assert from 'node:assert/strict'
import type { CallOptions } from '../block/block-source.ts'
import type { BackupCopyTask, CopyProgress, Mover } from '../mover/mover.ts'

/** Disks of one VM that are copied at the same time. */
const DISKS_AT_ONCE_MAX = 4

export interface DiskTask {
  readonly diskId: string
  readonly task: BackupCopyTask
}

/**
 * Copies the disks of one backup and resolves with the counters of each. The first failure ends all others before it
 * rejects. `onProgress` gets the sums over all disks.
 */
export async function copyDisks(
  mover: Mover,
  disks: readonly DiskTask[],
  { signal, onProgress }: CallOptions & { readonly onProgress: (sum: ProgressSum) => void },
): Promise<ReadonlyMap<string, CopyProgress>> {
  const failed = new AbortController()
  const bothSignals = AbortSignal.any([signal, failed.signal])
  const counters = new Map<string, CopyProgress>()
  const waiting = disks.values()
  const copyNext = async (): Promise<void> => {
    for (const { diskId, task } of waiting) {
      const note = (progress: CopyProgress) => {
        counters.set(diskId, progress)
        onProgress(sumOf(counters.values()))
      }
      note(await mover.copyBackup(task, { signal: bothSignals, onProgress: note }))
    }
  }
  const loops = Array.from({ length: Math.min(DISKS_AT_ONCE_MAX, disks.length) }, async () => {
    try {
      await copyNext()
    } catch (error) {
      failed.abort(error)
      throw error
    }
  })
  const ends = await Promise.allSettled(loops)
  signal.throwIfAborted()
  failed.signal.throwIfAborted()
  assert(ends.every((end) => end.status === 'fulfilled'))
  return counters
}

export type ProgressSum = Pick<
  CopyProgress,
  'doneBytes' | 'plannedBytes' | 'retriedReads' | 'rewinds' | 'bytesPerSecond'
>

function sumOf(counters: Iterable<CopyProgress>): ProgressSum {
  const sum = { doneBytes: 0, plannedBytes: 0, retriedReads: 0, rewinds: 0, bytesPerSecond: 0 }
  for (const { doneBytes, plannedBytes, retriedReads, rewinds, bytesPerSecond } of counters) {
    sum.doneBytes += doneBytes
    sum.plannedBytes += plannedBytes
    sum.retriedReads += retriedReads
    sum.rewinds += rewinds
    sum.bytesPerSecond += bytesPerSecond
  }
  return sum
}
