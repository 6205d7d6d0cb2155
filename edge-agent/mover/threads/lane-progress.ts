import type { LaneClaims } from '../lane-claims.ts'
import { type CopyCheckpoint, type CopyProgress, noCheckpoint, noProgress } from '../mover.ts'

/** The progress of one copy whose lanes are several copies. Pure. */
export class LaneProgress {
  readonly #lanes: CopyProgress[]
  /** Checkpoints of each lane, the oldest first; those that can matter no more are dropped. */
  readonly #checkpoints: CopyCheckpoint[][]

  readonly #claims: LaneClaims | undefined

  /**
   * @param starts where each lane begins
   * @param claims where lanes take from each other
   */
  constructor(starts: readonly CopyCheckpoint[], claims?: LaneClaims) {
    this.#claims = claims
    this.#lanes = starts.map((checkpoint) => ({ ...noProgress, checkpoint }))
    this.#checkpoints = starts.map((checkpoint) => [checkpoint])
  }

  note(index: number, progress: CopyProgress): void {
    this.#lanes[index] = progress
    const known = this.#checkpoints[index]
    if (known === undefined || known.at(-1)?.offsetBytes === progress.checkpoint.offsetBytes) return
    known.push(progress.checkpoint)
    const reached = this.#reachedBytes()
    for (const list of this.#checkpoints) {
      while ((list[1]?.offsetBytes ?? Infinity) <= reached) list.shift()
    }
  }

  /**
   * How far a lane durably is: all of its part below, and of what it has taken from others. That is durable when the lane has
   * ended; whose part it was is not beyond it before it was taken.
   */
  reachedBy(index: number): number {
    const { offsetBytes, sizeBytes } = this.#checkpoints[index]?.at(-1) ?? noCheckpoint
    const hasEnded = sizeBytes > 0 && offsetBytes === sizeBytes
    return hasEnded ? offsetBytes : Math.min(offsetBytes, this.#claims?.firstTakenFromOthers(index) ?? Infinity)
  }

  /**
   * All lanes together. The checkpoint is where the last of them is; what those ahead have done beyond is not in its
   * counts, and of what they have done below only what they had made a checkpoint of.
   */
  now(): CopyProgress {
    const sum = (count: (progress: CopyProgress) => number): number => {
      return this.#lanes.reduce((total, progress) => total + count(progress), 0)
    }
    return {
      state: this.#state(),
      doneBytes: sum(({ doneBytes }) => doneBytes),
      plannedBytes: sum(({ plannedBytes }) => plannedBytes),
      doneExtents: sum(({ doneExtents }) => doneExtents),
      plannedExtents: sum(({ plannedExtents }) => plannedExtents),
      isPlanComplete: this.#lanes.every(({ isPlanComplete }) => isPlanComplete),
      readBytes: sum(({ readBytes }) => readBytes),
      baseReadBytes: sum(({ baseReadBytes }) => baseReadBytes),
      writtenBytes: sum(({ writtenBytes }) => writtenBytes),
      zeroedBytes: sum(({ zeroedBytes }) => zeroedBytes),
      retriedReads: sum(({ retriedReads }) => retriedReads),
      rewinds: sum(({ rewinds }) => rewinds),
      checkpoint: this.#checkpoint(),
      bytesPerSecond: sum(({ bytesPerSecond }) => bytesPerSecond),
    }
  }

  /** Paused when nothing is under way in any lane. */
  #state(): CopyProgress['state'] {
    const states = new Set(this.#lanes.map(({ state }) => state))
    if (states.size === 1) return this.#lanes[0]?.state ?? 'running'
    return states.has('pausing') ? 'pausing' : 'running'
  }

  #reachedBytes(): number {
    return Math.min(...this.#checkpoints.map((_, index) => this.reachedBy(index)))
  }

  #checkpoint(): CopyCheckpoint {
    const offsetBytes = this.#reachedBytes()
    const oldest = this.#checkpoints.flatMap((list) => list[0] ?? [])
    return {
      ...(this.#lanes[0]?.checkpoint ?? noProgress.checkpoint),
      offsetBytes,
      doneBytes: oldest.reduce((total, { doneBytes }) => total + doneBytes, 0),
      doneExtents: oldest.reduce((total, { doneExtents }) => total + doneExtents, 0),
    }
  }
}
