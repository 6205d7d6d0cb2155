import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockEndpoint } from '../block/block-endpoint.ts'
import { type CopyCheckpoint, type CopyOptions, type CopyProgress, noProgress } from './mover.ts'

/** Times a copy goes back to the same checkpoint. */
const REWINDS_MAX = 5

export interface RewindOptions extends CopyOptions {
  readonly from: CopyCheckpoint
  /** Whether all that lies below the last checkpoint is still good after this error, so that the copy may go on there. */
  readonly maySurvive: (error: unknown) => boolean
}

/** Writes that were not flushed may be lost; the disk itself can still be reached. */
export function areWritesLost(error: unknown): boolean {
  return isPlatformError(error, 'nbd.writes_uncertain')
}

/** The thread died, and what it had written is where it was. */
export function isThreadEnded(error: unknown): boolean {
  return isPlatformError(error, 'mover.thread_ended')
}

/**
 * The connection to a server on this machine broke, and whoever opened it did not dial again: the server may live. Where the
 * endpoint says how long to dial that was done already.
 */
export function isLocalConnectionLost(error: unknown, endpoint: BlockEndpoint | undefined): boolean {
  if (!isPlatformError(error, 'nbd.disconnected') || endpoint?.kind !== 'nbd') return false
  return endpoint.address.transport === 'unix' && endpoint.reconnect === undefined
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
      if (!maySurvive(error)) throw error
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
