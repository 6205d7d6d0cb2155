import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockSink } from '../block/block-sink.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { CopyProgress, Mover } from '../mover/mover.ts'
import type { SharedThrottle } from '../mover/rate/shared-throttle.ts'
import type { FairShareOwner } from '../mover/slabs/fair-queue.ts'
import type { RestorePointReader } from '../repository/repository.ts'

export interface ReadDisksTask {
  readonly mover: Mover
  readonly reader: RestorePointReader
  readonly idKey: Uint8Array
  /** Whose memory the copies use. */
  readonly owner: FairShareOwner
  /** What they keep to together. */
  readonly throttles: readonly SharedThrottle[]
  /** Absent: the content is only checked. */
  readonly sinks?: ReadonlyMap<string, BlockSink>
}

export interface ReadSum {
  readonly doneBytes: number
  readonly plannedBytes: number
  readonly readBytes: number
  readonly writtenBytes: number
  readonly retriedReads: number
  readonly rewinds: number
}

const NOTHING: ReadSum = { doneBytes: 0, plannedBytes: 0, readBytes: 0, writtenBytes: 0, retriedReads: 0, rewinds: 0 }

/**
 * Reads all disks of a restore point, one after the other, checks every chunk, and writes them where sinks are given.
 * Rejects as `Mover.copyRestore`, with the disk named.
 */
export async function readDisks(
  { mover, reader, sinks, idKey, owner, throttles }: ReadDisksTask,
  { signal, onProgress }: CallOptions & { readonly onProgress: (sum: ReadSum) => void },
): Promise<ReadSum> {
  let before = NOTHING
  for (const [diskId, { source, chunkIds }] of reader.disks) {
    const sink = sinks?.get(diskId)
    if (sinks !== undefined && sink === undefined) {
      throw new PlatformError('target.create_failed', `the new VM has no disk ${diskId}`)
    }
    const task = { source, chunkIds, idKey, owner, throttles, ...(sink === undefined ? {} : { sink }) }
    const start = before
    const note = (progress: CopyProgress) => {
      before = add(start, progress)
      onProgress(before)
    }
    try {
      note(await mover.copyRestore(task, { signal, onProgress: note }))
    } catch (error) {
      if (!(error instanceof PlatformError) || signal.aborted) throw error
      const details = { ...error.details, diskId }
      throw new PlatformError(error.code, `disk ${diskId}: ${error.message}`, { cause: error, details })
    }
  }
  return before
}

function add(sum: ReadSum, progress: CopyProgress): ReadSum {
  return {
    doneBytes: sum.doneBytes + progress.doneBytes,
    plannedBytes: sum.plannedBytes + progress.plannedBytes,
    readBytes: sum.readBytes + progress.readBytes,
    writtenBytes: sum.writtenBytes + progress.writtenBytes,
    retriedReads: sum.retriedReads + progress.retriedReads,
    rewinds: sum.rewinds + progress.rewinds,
  }
}
