const WINDOW_MS = 5000
const BUCKET_MS = 250

interface Bucket {
  readonly startMs: number
  amount: number
}

/** How fast something went in the last five seconds. */
export class RateMeter {
  readonly #nowMs: () => number
  readonly #startMs: number
  readonly #buckets: Bucket[] = []

  /** @param nowMs a clock that never goes back */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
    this.#startMs = nowMs()
  }

  note(amount: number): void {
    const nowMs = this.#nowMs()
    const last = this.#buckets.at(-1)
    if (last !== undefined && nowMs - last.startMs < BUCKET_MS) last.amount += amount
    else this.#buckets.push({ startMs: nowMs, amount })
    this.#forget(nowMs)
  }

  /** Of what was noted in the last five seconds, or since the start if that is less; a whole number. */
  perSecond(): number {
    const nowMs = this.#nowMs()
    this.#forget(nowMs)
    const sum = this.#buckets.reduce((total, { amount }) => total + amount, 0)
    const spanMs = Math.max(BUCKET_MS, Math.min(WINDOW_MS, nowMs - this.#startMs))
    return Math.round((sum * 1000) / spanMs)
  }

  #forget(nowMs: number): void {
    while (this.#buckets[0] !== undefined && this.#buckets[0].startMs <= nowMs - WINDOW_MS) this.#buckets.shift()
  }
}
