import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SharedThrottle, type ThrottleTime } from './shared-throttle.ts'

const call = { signal: AbortSignal.timeout(60_000) }

/** Time that passes when everybody sleeps: to the next one's end. */
class SimulatedTime implements ThrottleTime {
  ns = 0n
  readonly #sleepers = new Set<{ readonly untilNs: bigint; readonly wake: () => void }>()

  nowNs(): bigint {
    return this.ns
  }

  async sleep(milliseconds: number, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const sleeper = { untilNs: this.ns + BigInt(Math.round(milliseconds * 1e6)), wake: resolve }
    this.#sleepers.add(sleeper)
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    try {
      await promise
    } finally {
      this.#sleepers.delete(sleeper)
    }
  }

  /** Runs until nobody sleeps, or the time is reached. */
  async run(untilNs?: bigint): Promise<void> {
    for (;;) {
      await new Promise(setImmediate)
      let next: bigint | undefined
      for (const sleeper of this.#sleepers) if (next === undefined || sleeper.untilNs < next) next = sleeper.untilNs
      if (next === undefined || (untilNs !== undefined && next > untilNs)) break
      this.ns = next
      for (const sleeper of this.#sleepers) if (sleeper.untilNs <= next) sleeper.wake()
    }
    if (untilNs !== undefined && this.ns < untilNs) this.ns = untilNs
  }
}

const SECOND = 1_000_000_000n

describe('a shared throttle', () => {
  test('lets no more bytes begin than its rate in any time, the first at once', async () => {
    const time = new SimulatedTime()
    const throttle = new SharedThrottle(undefined, time)
    throttle.setRate(10_000)
    const all = Promise.all(Array.from({ length: 11 }, async () => await throttle.take(1000, call)))
    await time.run()
    await all
    expect(time.ns).toBe(SECOND)
  })

  test('time that nobody used is not made up for, but for 50 ms', async () => {
    const time = new SimulatedTime()
    const throttle = new SharedThrottle(undefined, time)
    throttle.setRate(1000)
    time.ns = 100n * SECOND
    const all = Promise.all(Array.from({ length: 3 }, async () => await throttle.take(1000, call)))
    await time.run()
    await all
    expect(time.ns).toBe(102n * SECOND - SECOND / 20n)
  })

  test('without a rate holds nobody up, and a new rate holds for those who wait', async () => {
    const time = new SimulatedTime()
    const throttle = new SharedThrottle(undefined, time)
    await throttle.take(1e12, call)
    throttle.setRate(1)
    const waiting = Promise.all([throttle.take(1000, call), throttle.take(1000, call)])
    await time.run(10n * SECOND)
    // 10 of the 1000 bytes before the second have passed; the other 990 pass in 99 s now.
    throttle.setRate(10)
    await time.run()
    await waiting
    expect(time.ns / 100_000_000n).toBe(1090n)
    const freed = Promise.all([throttle.take(1e9, call), throttle.take(1e9, call)])
    throttle.setRate(undefined)
    await time.run()
    await freed
    expect(time.ns).toBeLessThan(111n * SECOND)
  })

  test('who gives up as the last leaves no gap', async () => {
    const time = new SimulatedTime()
    const throttle = new SharedThrottle(undefined, time)
    throttle.setRate(1000)
    const control = new AbortController()
    await throttle.take(1000, call)
    const given = throttle.take(50_000, { signal: control.signal })
    control.abort(new Error('enough'))
    await expect(given).rejects.toThrow('enough')
    const next = throttle.take(1000, call)
    await time.run()
    await next
    expect(time.ns).toBe(SECOND)
  })

  test('whatever the rates, sizes and times, all together never exceed the rate', async () => {
    const anyTake = fc.record({ bytes: fc.integer({ min: 1, max: 50_000 }), atMs: fc.nat(5000), user: fc.nat(3) })
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 10_000, max: 1_000_000 }),
        fc.array(anyTake, { maxLength: 20 }),
        async (rate, takes) => {
          const time = new SimulatedTime()
          const first = new SharedThrottle(undefined, time)
          first.setRate(rate)
          const users = Array.from({ length: 4 }, () => new SharedThrottle(first.memory, time))
          const begun: { readonly ns: bigint; readonly bytes: number }[] = []
          const works = takes.map(async ({ bytes, atMs, user }) => {
            await time.sleep(atMs, call)
            await users[user]?.take(bytes, call)
            begun.push({ ns: time.ns, bytes })
          })
          await time.run()
          await Promise.all(works)
          for (const [from, start] of begun.entries()) {
            for (const { ns } of begun.slice(from)) {
              const sofar = begun.slice(from).filter((other) => other.ns <= ns)
              const last = Math.max(...sofar.filter((other) => other.ns === ns).map(({ bytes }) => bytes))
              const before = sofar.reduce((sum, { bytes }) => sum + bytes, 0) - start.bytes
              // 50 ms may be made up for. Who begins is late by a millisecond at most, time's grain, and by what a byte
              // takes, for bytes are counted whole; of those who begin at once any may be the last.
              const allowed = (Number(ns - start.ns) / 1e9 + 0.052) * rate
              expect(before - last).toBeLessThanOrEqual(allowed + 1)
            }
          }
        },
      ),
      { numRuns: 50 },
    )
  })

  test('is one for all threads that have its memory', async () => {
    const throttle = SharedThrottle.at(1_000_000_000)
    const script = `
      const { workerData, parentPort } = require('node:worker_threads')
      import(workerData.url).then(async ({ SharedThrottle }) => {
        const throttle = new SharedThrottle(workerData.memory)
        for (let count = 0; count < 1000; count += 1) await throttle.take(10, { signal: new AbortController().signal })
        parentPort.postMessage('done')
      })`
    const url = new URL('./shared-throttle.ts', import.meta.url).href
    const workers = Array.from({ length: 2 }, () => {
      return new Worker(script, { eval: true, workerData: { url, memory: throttle.memory }, execArgv: [] })
    })
    await Promise.all(workers.map(async (worker) => await once(worker, 'message')))
    await Promise.all(workers.map(async (worker) => await worker.terminate()))
    const promised = Number(new BigInt64Array(throttle.memory)[4])
    expect(promised).toBeGreaterThanOrEqual(20_000)
  })
})
