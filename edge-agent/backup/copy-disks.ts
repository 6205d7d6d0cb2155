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

export type ProgressSum = Pick<CopyProgress, 'doneBytes' | 'plannedBytes'>

function sumOf(counters: Iterable<CopyProgress>): ProgressSum {
  let doneBytes = 0
  let plannedBytes = 0
  for (const counter of counters) {
    doneBytes += counter.doneBytes
    plannedBytes += counter.plannedBytes
  }
  return { doneBytes, plannedBytes }
}
