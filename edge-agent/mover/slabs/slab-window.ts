/**
 * Two for each disk: one that is filled while the other is emptied. With less a disk waits for us now and then, and trying
 * that out costs a short copy more than the memory is worth.
 */
const SIZE_MIN = 4
/** A window is measured over so many times its size of runs, and not shorter than this. */
const EPOCH_ROUNDS = 4
const EPOCH_MS_MIN = 20
/** A window twice as large has to be this much faster to be worth its memory. */
const GAIN_TO_GROW = 1.08
/** A window half as large may be this much slower: it leaves memory to others, and its buffers stay in the CPU's cache. */
const LOSS_TO_SHRINK = 0.97
/** Epochs between two trials once both neighbours lost. */
const EPOCHS_BETWEEN_TRIALS = 8

/**
 * How many buffers a copy uses at once, all of them full. Few are enough, and kinder to the CPU's cache, where both disks are
 * near; many are needed where each round trip takes long. It tries the next larger and the next smaller window now and then,
 * and keeps what moved more bytes for its size. Pure.
 */
export class SlabWindow {
  readonly #min: number
  readonly #max: number
  /** What is in use: the settled size, or the one on trial. */
  #size: number
  #settledSize: number
  /** Bytes per millisecond of the settled size, as it was measured last. */
  #settledRate: number | undefined
  #direction: 'grow' | 'shrink' = 'grow'
  #rejected = 0
  #epochsUntilTrial = 1
  /** Of what was begun with the window before. */
  #runsToSkip = 0
  #epochStartMs: number | undefined
  #epochBytes = 0
  #epochRuns = 0

  /** @param max at least 1 @param start where to begin; default: few */
  constructor(max: number, start: number = SIZE_MIN) {
    this.#max = max
    this.#min = Math.min(SIZE_MIN, max)
    this.#size = Math.max(this.#min, Math.min(start, max))
    this.#settledSize = this.#size
  }

  /** As given. */
  get max(): number {
    return this.#max
  }

  get size(): number {
    return this.#size
  }

  /** A run has ended now. */
  note(lengthBytes: number, nowMs: number): void {
    if (this.#runsToSkip > 0) {
      this.#runsToSkip -= 1
      return
    }
    if (this.#epochStartMs === undefined) {
      this.#epochStartMs = nowMs
      return
    }
    this.#epochBytes += lengthBytes
    this.#epochRuns += 1
    const tookMs = nowMs - this.#epochStartMs
    if (this.#epochRuns < this.#size * EPOCH_ROUNDS || tookMs < EPOCH_MS_MIN) return
    const rate = this.#epochBytes / tookMs
    this.#epochStartMs = nowMs
    this.#epochBytes = 0
    this.#epochRuns = 0
    this.#endEpoch(rate)
  }

  #endEpoch(rate: number): void {
    if (this.#size === this.#settledSize) {
      this.#settledRate = rate
      this.#epochsUntilTrial -= 1
      if (this.#epochsUntilTrial <= 0) this.#try()
      return
    }
    const needed = this.#size > this.#settledSize ? GAIN_TO_GROW : LOSS_TO_SHRINK
    if (this.#settledRate === undefined || rate >= this.#settledRate * needed) {
      this.#settledSize = this.#size
      this.#settledRate = rate
      this.#rejected = 0
      this.#try()
    } else {
      this.#reject()
    }
  }

  /** Puts the next size in the present direction on trial, or in the other one where there is none. */
  #try(): void {
    let candidate = this.#neighbour()
    if (candidate === this.#settledSize) {
      this.#turn()
      candidate = this.#neighbour()
    }
    this.#change(candidate)
  }

  #neighbour(): number {
    const next = this.#direction === 'grow' ? this.#settledSize * 2 : Math.ceil(this.#settledSize / 2)
    return Math.max(this.#min, Math.min(this.#max, next))
  }

  #turn(): void {
    this.#direction = this.#direction === 'grow' ? 'shrink' : 'grow'
  }

  #reject(): void {
    this.#turn()
    this.#rejected += 1
    this.#epochsUntilTrial = this.#rejected >= 2 ? EPOCHS_BETWEEN_TRIALS : 1
    this.#change(this.#settledSize)
  }

  #change(size: number): void {
    this.#epochStartMs = undefined
    this.#runsToSkip = Math.max(size, this.#size)
    this.#size = size
  }
}
