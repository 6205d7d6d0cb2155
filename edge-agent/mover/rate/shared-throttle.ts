import assert from 'node:assert/strict'
import process from 'node:process'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import type { CallOptions } from '../../block/block-source.ts'

/** Something that lets bytes pass no faster than it likes. */
export interface Throttle {
  /** Undefined: everything may pass now, and nobody has to ask. */
  readonly bytesPerSecond: number | undefined
  /** Resolves when so many bytes may pass. Rejects with the signal's reason. */
  take(bytes: number, options: CallOptions): Promise<void>
}

export interface ThrottleTime {
  /** Monotonic, the same for all threads of the process. */
  nowNs(): bigint
  sleep(milliseconds: number, options: CallOptions): Promise<void>
}

const processTime: ThrottleTime = {
  nowNs: () => process.hrtime.bigint(),
  sleep: async (milliseconds, options) => await systemClock.sleep(milliseconds, options),
}

/** Who waits looks so often whether the rate has changed. */
const LOOK_INTERVAL_MS = 200
const NS_PER_SECOND = 1_000_000_000n
/** Time that passed unused and is made up for: timers are late, and what they are late by must not be lost. */
const SLACK_NS = 50_000_000n

/** Fields of the shared memory. */
const VERSION = 0 // odd: being changed
const RATE = 1 // bytes per second, 0: unlimited
const SINCE_NS = 2 // when the rate was set
const SINCE_BYTES = 3 // what had passed by then
const PROMISED_BYTES = 4 // up to where places are taken
const FIELDS = 5

interface Pace {
  readonly rate: bigint
  readonly sinceNs: bigint
  readonly sinceBytes: bigint
}

/**
 * A rate that any number of copies in any number of threads keep to together, without a message between them. Bytes take their
 * places in a queue that moves at the rate: the virtual scheduling of GCRA (ITU-T I.371), but with places counted in
 * bytes, so that a new rate holds at once for those who wait too. Time that nobody used is not made up for, but for 50 ms.
 */
export class SharedThrottle implements Throttle {
  /** Hand this to another thread, and make a SharedThrottle of it there. */
  readonly memory: SharedArrayBuffer
  readonly #fields: BigInt64Array
  readonly #time: ThrottleTime

  /** @param memory of another SharedThrottle; absent: a new one, unlimited */
  constructor(memory?: SharedArrayBuffer, time: ThrottleTime = processTime) {
    this.memory = memory ?? new SharedArrayBuffer(FIELDS * BigInt64Array.BYTES_PER_ELEMENT)
    this.#fields = new BigInt64Array(this.memory)
    this.#time = time
    assert.equal(this.#fields.length, FIELDS)
  }

  /** A new one. */
  static at(bytesPerSecond: number): SharedThrottle {
    const throttle = new SharedThrottle()
    throttle.setRate(bytesPerSecond)
    return throttle
  }

  /** Bytes per second; undefined: unlimited. */
  get bytesPerSecond(): number | undefined {
    const rate = Number(Atomics.load(this.#fields, RATE))
    return rate === 0 ? undefined : rate
  }

  /** Holds at once, for those who wait too. @param bytesPerSecond undefined: unlimited */
  setRate(bytesPerSecond: number | undefined): void {
    assert(bytesPerSecond === undefined || bytesPerSecond >= 1, 'a rate is at least a byte per second')
    const version = this.#lock()
    const nowNs = this.#time.nowNs()
    Atomics.store(
      this.#fields,
      SINCE_BYTES,
      passedBytes(this.#load(), nowNs) ?? Atomics.load(this.#fields, PROMISED_BYTES),
    )
    Atomics.store(this.#fields, SINCE_NS, nowNs)
    Atomics.store(this.#fields, RATE, BigInt(Math.round(bytesPerSecond ?? 0)))
    Atomics.store(this.#fields, VERSION, version + 2n)
  }

  async take(bytes: number, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    const place = this.#reserve(BigInt(bytes))
    if (place === undefined) return
    try {
      await this.#untilPassed(place.startBytes, { signal })
    } catch (error) {
      // Only who is last can leave without a gap that somebody else would have to share.
      Atomics.compareExchange(this.#fields, PROMISED_BYTES, place.endBytes, place.startBytes)
      throw error
    }
  }

  /** @returns undefined: unlimited */
  #reserve(bytes: bigint): { readonly startBytes: bigint; readonly endBytes: bigint } | undefined {
    for (;;) {
      const pace = this.#pace()
      const passed = passedBytes(pace, this.#time.nowNs())
      if (passed === undefined) return undefined
      const promised = Atomics.load(this.#fields, PROMISED_BYTES)
      const earliest = passed - (pace.rate * SLACK_NS) / NS_PER_SECOND
      const startBytes = promised > earliest ? promised : earliest
      const endBytes = startBytes + bytes
      if (Atomics.compareExchange(this.#fields, PROMISED_BYTES, promised, endBytes) === promised) {
        return { startBytes, endBytes }
      }
    }
  }

  async #untilPassed(startBytes: bigint, options: CallOptions): Promise<void> {
    for (;;) {
      const pace = this.#pace()
      const passed = passedBytes(pace, this.#time.nowNs())
      if (passed === undefined || passed >= startBytes) return
      const waitMs = Number(((startBytes - passed) * 1000n + pace.rate - 1n) / pace.rate)
      await this.#time.sleep(Math.min(Math.max(1, waitMs), LOOK_INTERVAL_MS), options)
    }
  }

  /** A consistent view of what `setRate` writes. */
  #pace(): Pace {
    for (;;) {
      const version = Atomics.load(this.#fields, VERSION)
      const pace = this.#load()
      if (version % 2n === 0n && Atomics.load(this.#fields, VERSION) === version) return pace
    }
  }

  #load(): Pace {
    return {
      rate: Atomics.load(this.#fields, RATE),
      sinceNs: Atomics.load(this.#fields, SINCE_NS),
      sinceBytes: Atomics.load(this.#fields, SINCE_BYTES),
    }
  }

  /** Makes the version odd, when nobody else has it so. @returns what it was */
  #lock(): bigint {
    for (;;) {
      const version = Atomics.load(this.#fields, VERSION)
      if (version % 2n === 0n && Atomics.compareExchange(this.#fields, VERSION, version, version + 1n) === version) {
        return version
      }
    }
  }
}

/** Bytes that may have passed by now; undefined: unlimited. */
function passedBytes({ rate, sinceNs, sinceBytes }: Pace, nowNs: bigint): bigint | undefined {
  if (rate === 0n) return undefined
  return sinceBytes + ((nowNs - sinceNs) * rate) / NS_PER_SECOND
}
