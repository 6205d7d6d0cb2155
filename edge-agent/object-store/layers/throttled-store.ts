import assert from 'node:assert/strict'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import type { CallOptions, ObjectStore } from '../object-store.ts'
import { wrapStore } from './wrap-store.ts'

export interface ThrottleOptions {
  /** Both directions together. Absent: unlimited. */
  readonly bytesPerSecond?: number
  readonly requestsPerSecond?: number
  readonly clock?: Clock
}

/**
 * Lets calls begin no faster than the rates over any stretch of time: each takes its place in a queue of time, so a
 * large object makes the next call wait longer. What a download weighs is known after it; it is paid by the next call.
 * It owns `store`.
 */
export function throttledStore(store: ObjectStore, options: ThrottleOptions): ObjectStore {
  const { bytesPerSecond = Infinity, requestsPerSecond = Infinity, clock = systemClock } = options
  const bytes = new RateQueue(bytesPerSecond, clock)
  const requests = new RateQueue(requestsPerSecond, clock)
  return wrapStore(store, async (call, { signal }, work) => {
    await requests.take(1, { signal })
    if (call.wantedBytes !== 0 || call.sentBytes > 0) {
      await bytes.take(call.sentBytes + (call.wantedBytes ?? 0), { signal })
    }
    const result = await work()
    if (call.wantedBytes === undefined && result instanceof Uint8Array) bytes.charge(result.length)
    return result
  })
}

/** When the next may begin: pushed on by what each costs. */
class RateQueue {
  readonly #perSecond: number
  readonly #clock: Clock
  #freeAtMs: number

  constructor(perSecond: number, clock: Clock) {
    assert(perSecond > 0, 'a rate is positive')
    this.#perSecond = perSecond
    this.#clock = clock
    this.#freeAtMs = clock.now().getTime()
  }

  async take(amount: number, { signal }: CallOptions): Promise<void> {
    const waitMs = this.charge(amount) - this.#clock.now().getTime()
    if (waitMs > 0) await this.#clock.sleep(waitMs, { signal })
  }

  /** Returns when what was asked for may begin. */
  charge(amount: number): number {
    const startMs = Math.max(this.#clock.now().getTime(), this.#freeAtMs)
    this.#freeAtMs = startMs + (amount * 1000) / this.#perSecond
    return startMs
  }
}
