import type { SyncAnswer } from '@sendense/shared/contracts/cloud-message.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'

const SAMPLES_MAX = 5
const OUTSTANDING_MAX = 16

/**
 * The cloud's time as this machine can know it: its own clock and the median offset of the last five sync answers.
 * Only answers to requests this process made count, each once, so that an old answer moves nothing.
 */
export class CorrectedClock {
  readonly #clock: Clock
  readonly #requests = new Map<string, number>()
  #offsetsMs: number[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The `clock` of a sync request; unique even within a millisecond's repetition. */
  beginRequest(): string {
    const sentAt = this.#clock.now()
    const stamp = sentAt.toISOString()
    this.#requests.set(stamp, sentAt.getTime())
    if (this.#requests.size > OUTSTANDING_MAX) {
      const [oldest] = this.#requests.keys()
      if (oldest !== undefined) this.#requests.delete(oldest)
    }
    return stamp
  }

  /** Returns false where the answer is to no request of ours, or a second one: it must not be believed. */
  endRequest({ requestClock, serverTime }: Pick<SyncAnswer, 'requestClock' | 'serverTime'>): boolean {
    const sentMs = this.#requests.get(requestClock)
    if (sentMs === undefined) return false
    this.#requests.delete(requestClock)
    const middleMs = (sentMs + this.#clock.now().getTime()) / 2
    this.#offsetsMs = [...this.#offsetsMs, Date.parse(serverTime) - middleMs].slice(-SAMPLES_MAX)
    return true
  }

  get offsetMs(): number {
    const sorted = this.#offsetsMs.toSorted((a, b) => a - b)
    return sorted[Math.floor(sorted.length / 2)] ?? 0
  }

  now(): Date {
    return new Date(this.#clock.now().getTime() + this.offsetMs)
  }
}
