import { LaneClaims } from '../lane-claims.ts'
import { type CopyCheckpoint, type CopyOptions, type CopyProgress, noCheckpoint } from '../mover.ts'
import { BUFFER_BYTES_MAX, CHECKPOINT_EVERY_BYTES } from '../run-copy.ts'
import { corruptOffsetOf, worstFailure } from '../worst-failure.ts'
import { LaneProgress } from './lane-progress.ts'
import type { MoverPool } from './mover-pool.ts'
import type { MoverTask } from './mover-task.ts'
import { WorkerFailure } from './mover-thread.ts'

/** A lane with less than this is not worth a second set of connections. */
const LANE_BYTES_MIN = 256 * 1024 * 1024

/** How many threads one copy is worth: those that have nothing to do, where the disk is large and may be opened as often. */
export function lanesFor(
  pool: MoverPool,
  { sizeBytes, openersMax }: { sizeBytes: number; openersMax: number },
): number {
  return Math.max(1, Math.min(pool.idleCount, openersMax, Math.floor(sizeBytes / LANE_BYTES_MIN)))
}

/**
 * Copies one disk in several threads at once, each its own stripes of it and in the end some of the others'. Rejects as one
 * copy would: with the first failure, and of several corrupt chunks with the one that comes first on the disk; when nothing
 * is under way any more.
 */
export async function copyInLanes(
  pool: MoverPool,
  task: MoverTask,
  { count, sizeBytes }: { readonly count: number; readonly sizeBytes: number },
  options: CopyOptions,
): Promise<CopyProgress> {
  if (count === 1) return await pool.copy(task, options)
  const starts = Array.from({ length: count }, (_, index) => startOf(task, index))
  const claims = LaneClaims.memoryFor(sizeBytes)
  const progress = new LaneProgress(starts, claims === undefined ? undefined : new LaneClaims(claims))
  const failures = new LaneFailures(task.kind !== 'backup')
  const stops = starts.map(() => new AbortController())
  const stopWhoCanOnlyLose = (): void => {
    for (const [index, stop] of stops.entries()) {
      if (failures.areSettled(progress.reachedBy(index))) stop.abort(failures.first)
    }
  }
  const ends = starts.map(async (resumeFrom, index) => {
    const note = (now: CopyProgress): void => {
      progress.note(index, now)
      options.onProgress?.(progress.now())
      stopWhoCanOnlyLose()
    }
    const own = stops[index]?.signal ?? options.signal
    const call = { ...options, signal: AbortSignal.any([options.signal, own]), onProgress: note }
    try {
      note(await pool.copy({ ...shareOf(task, count, resumeFrom), lane: { index, count, claims } }, call))
    } catch (error) {
      failures.note(error)
      stopWhoCanOnlyLose()
    }
  })
  await Promise.all(ends)
  options.signal.throwIfAborted()
  if (failures.first !== undefined) throw failures.worst()
  return progress.now()
}

/** What is said of one copy holds for its lanes together. */
function shareOf(task: MoverTask, count: number, resumeFrom: CopyCheckpoint): MoverTask {
  const bufferBytesMax = Math.ceil((task.bufferBytesMax ?? BUFFER_BYTES_MAX) / count)
  const checkpointEveryBytes = Math.ceil((task.checkpointEveryBytes ?? CHECKPOINT_EVERY_BYTES) / count)
  return { ...task, bufferBytesMax, checkpointEveryBytes, resumeFrom }
}

/** Only the first lane brings along what was done before, so that it is counted once. */
function startOf(task: MoverTask, index: number): CopyCheckpoint {
  const from = task.resumeFrom ?? noCheckpoint
  return index === 0 ? from : { ...from, doneBytes: 0, doneExtents: 0 }
}

class LaneFailures {
  readonly #failures: unknown[] = []
  /** Whether the first corrupt chunk of the disk has to be found: lanes go on until they are past the first one known. */
  readonly #seeksFirstCorrupt: boolean

  constructor(seeksFirstCorrupt: boolean) {
    this.#seeksFirstCorrupt = seeksFirstCorrupt
  }

  get first(): unknown {
    return this.#failures[0]
  }

  note(error: unknown): void {
    this.#failures.push(error)
  }

  /** Whether a lane that has come so far cannot change the outcome any more. */
  areSettled(reachedBytes: number): boolean {
    if (this.#failures.length === 0) return false
    const corrupt = this.#failures.map(offsetOf)
    if (!this.#seeksFirstCorrupt || corrupt.includes(undefined)) return true
    return reachedBytes > Math.min(...corrupt.map((offsetBytes) => offsetBytes ?? 0))
  }

  /** The failure to tell of. */
  worst(): unknown {
    return worstFailure(this.#failures, offsetOf)
  }
}

function offsetOf(failure: unknown): number | undefined {
  return corruptOffsetOf(failure instanceof WorkerFailure ? failure.failure : failure)
}
