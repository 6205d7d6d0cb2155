import { isPlatformError, type PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type CopyCheckpoint, type CopyOptions, type CopyProgress, noProgress } from './mover.ts'

/** Times a copy goes back to the same checkpoint. */
const REWINDS_MAX = 5

export interface RewindOptions extends CopyOptions {
  readonly from: CopyCheckpoint
  /** Whether all that lies below the last checkpoint is still good after this error, so that the copy may go on there. */
  readonly maySurvive: (error: PlatformError) => boolean
}

/** Writes that were not flushed may be lost; the disk itself can still be reached. */
export function areWritesLost(error: PlatformError): boolean {
  return error.code === 'nbd.writes_uncertain'
}

/** The thread died, and what it had written is where it was. */
export function isThreadEnded(error: PlatformError): boolean {
  return error.code === 'mover.thread_ended'
}

/**
 * Runs a copy that goes back to its last checkpoint when something was lost, a few times for each checkpoint. Progress is that
 * of all attempts together. Rejects with the last error.
 */
export async function withRewinds(
  options: RewindOptions,
  attempt: (from: CopyCheckpoint, options: CopyOptions) => Promise<CopyProgress>,
): Promise<CopyProgress> {
  const { from, maySurvive, onProgress, ...rest } = options
  let before = noProgress
  let last: CopyProgress = { ...noProgress, checkpoint: from }
  let atCheckpoint = 0
  for (;;) {
    const base = before
    const note = (progress: CopyProgress): void => {
      last = addProgress(base, progress)
      onProgress?.(last)
    }
    const start = last.checkpoint
    try {
      return addProgress(base, await attempt(start, { ...rest, onProgress: note }))
    } catch (error) {
      options.signal.throwIfAborted()
      if (!isPlatformError(error) || !maySurvive(error)) throw error
      atCheckpoint = last.checkpoint.offsetBytes > start.offsetBytes ? 1 : atCheckpoint + 1
      if (atCheckpoint > REWINDS_MAX) throw error
      before = { ...last, rewinds: last.rewinds + 1 }
    }
  }
}

/** What both did: how far it is and at what speed says the second, which began where a checkpoint of the first was. */
function addProgress(before: CopyProgress, now: CopyProgress): CopyProgress {
  return {
    ...now,
    readBytes: before.readBytes + now.readBytes,
    baseReadBytes: before.baseReadBytes + now.baseReadBytes,
    writtenBytes: before.writtenBytes + now.writtenBytes,
    zeroedBytes: before.zeroedBytes + now.zeroedBytes,
    retriedReads: before.retriedReads + now.retriedReads,
    rewinds: before.rewinds + now.rewinds,
  }
}
