import { type CopyCheckpoint, type CopyProgress, noProgress } from './mover.ts'
import { RateMeter } from './rate-meter.ts'

const REPORT_INTERVAL_MS = 250

type MutableProgress = { -readonly [K in keyof CopyProgress]: CopyProgress[K] }
type Counter = Exclude<keyof CopyProgress, 'state' | 'isPlanComplete' | 'bytesPerSecond' | 'checkpoint'>

/** The counters of one copy, and the timer that tells of them a few times a second. */
export class CopyCounters {
  readonly #progress: MutableProgress
  readonly #meter: RateMeter
  #changed = false
  #onProgress: ((progress: CopyProgress) => void) | undefined

  /** @param from what is done already */
  constructor(nowMs: () => number, from: CopyCheckpoint) {
    const { doneBytes, doneExtents } = from
    const planned = { plannedBytes: doneBytes, plannedExtents: doneExtents }
    this.#meter = new RateMeter(nowMs)
    this.#progress = { ...noProgress, doneBytes, doneExtents, ...planned, checkpoint: from }
  }

  add(counter: Counter, amount: number): void {
    this.#progress[counter] += amount
    if (counter === 'readBytes') this.#meter.note(amount)
    this.#changed = true
  }

  /** Told at once, for others act on it. */
  set(change: Partial<Pick<CopyProgress, 'state' | 'isPlanComplete' | 'checkpoint'>>): void {
    Object.assign(this.#progress, change)
    this.#tell()
  }

  now(): CopyProgress {
    return { ...this.#progress, bytesPerSecond: this.#meter.perSecond() }
  }

  /** Runs `work` while telling `onProgress` what changed, and once more when it settled. */
  async report(onProgress: ((progress: CopyProgress) => void) | undefined, work: () => Promise<void>) {
    this.#onProgress = onProgress
    const timer = setInterval(() => {
      if (this.#changed) this.#tell()
    }, REPORT_INTERVAL_MS)
    try {
      await work()
    } finally {
      clearInterval(timer)
      this.#tell()
    }
    return this.now()
  }

  #tell(): void {
    this.#changed = false
    this.#onProgress?.(this.now())
  }
}
