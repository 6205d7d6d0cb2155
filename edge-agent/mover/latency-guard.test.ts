import { describe, expect, test } from 'vitest'
import {
  type GuardPace,
  type GuardSettings,
  type GuestIoCounters,
  LatencyGuard,
  latencyLimitMs,
  nextPace,
  unlimitedPace,
} from './latency-guard.ts'

const MIB = 1024 * 1024
const settings: GuardSettings = {
  latencyFloorMs: 20,
  baselineFactor: 3,
  rateFloorBytesPerSecond: 4 * MIB,
  hangLimitMs: 9000,
}
const call = { signal: AbortSignal.timeout(60_000) }

function at(mib: number, before = 160): GuardPace {
  return { bytesPerSecond: mib * MIB, beforeBytesPerSecond: before * MIB }
}

test.each([
  ['a fast disk may become a little slower', 0.5, 20],
  ['a slow disk is measured by itself', 15, 45],
  ['a guest that did nothing has only the floor', undefined, 20],
])('%s', (_name, baselineMs, limitMs) => {
  expect(latencyLimitMs(baselineMs, settings)).toBe(limitMs)
})

test.each([
  ['a guest that is well leaves a copy alone', unlimitedPace, { latencyMs: 20, copy: 300 }, unlimitedPace],
  ['one that suffers halves what the copy does', unlimitedPace, { latencyMs: 21, copy: 160 }, at(80)],
  ['and again', at(80), { latencyMs: 21, copy: 80 }, at(40)],
  ['from what it really does, when that is less', at(80), { latencyMs: 21, copy: 30 }, at(15)],
  ['never below the floor', at(5), { latencyMs: 500, copy: 5 }, at(4)],
  ['not even where the copy does nothing', at(4), { latencyMs: 500, copy: 0 }, at(4)],
  ['one that is well again gives back a sixteenth', at(40), { latencyMs: 1, copy: 40 }, at(50)],
  ['but at least the floor', at(40, 48), { latencyMs: 1, copy: 40 }, at(44, 48)],
  ['up to where it was', at(150), { latencyMs: 1, copy: 150 }, unlimitedPace],
  ['a few slow operations say nothing', unlimitedPace, { latencyMs: 79, copy: 160, operations: 4 }, unlimitedPace],
  ['unless each takes far too long', unlimitedPace, { latencyMs: 400, copy: 160, operations: 2 }, at(80)],
  ['and after few operations nothing is given back', at(40), { latencyMs: 1, copy: 40, operations: 4 }, at(40)],
  ['one that hangs halves it', unlimitedPace, { latencyMs: 0, copy: 160, operations: 0, hungMs: 1000 }, at(80)],
  ['and again while it does, whatever others do', at(80), { latencyMs: 1, copy: 80, hungMs: 2000 }, at(40)],
  ['a short wait is no hang, but gives nothing back', at(40), { latencyMs: 1, copy: 40, hungMs: 70 }, at(40)],
  ['a guest that does nothing is well', at(40), { latencyMs: 0, copy: 40, operations: 0 }, at(50)],
])('%s', (_name, pace, { latencyMs, copy, ...more }, next) => {
  const look = { operations: 100, latencyMs, hungMs: 0, copyBytesPerSecond: copy * MIB, ...more }
  expect(nextPace(pace, look, 20, settings)).toEqual(next)
})

/** A guest whose operations take what it is told. */
class TestGuest {
  #counters: GuestIoCounters = { operations: 0, totalTimeNs: 0 }
  copyMib = 160

  work(operations: number, latencyMs: number): void {
    this.#counters = {
      operations: this.#counters.operations + operations,
      totalTimeNs: this.#counters.totalTimeNs + operations * latencyMs * 1e6,
    }
  }

  restart(): void {
    this.#counters = { operations: 0, totalTimeNs: 0 }
  }

  async guard(): Promise<LatencyGuard> {
    const read = async (): Promise<GuestIoCounters> => this.#counters
    return new LatencyGuard({ read, copyBytesPerSecond: () => this.copyMib * MIB, settings }, await read())
  }
}

describe('a latency guard', () => {
  test('slows down while the guest suffers and recovers when it does not, and tells of it', async () => {
    const guest = new TestGuest()
    const guard = await guest.guard()
    guest.work(100, 10)
    await guard.takeBaseline(call)
    expect(guard.report.limitMs).toBe(30)
    const rates: (number | undefined)[] = []
    for (const latencyMs of [12, 29, 31, 60, 80, 10, 10]) {
      guest.work(50, latencyMs)
      await guard.look(call)
      const rate = guard.throttle.bytesPerSecond
      rates.push(rate === undefined ? undefined : rate / MIB)
      if (rate !== undefined) guest.copyMib = rate / MIB
    }
    expect(rates).toEqual([undefined, undefined, 80, 40, 20, 30, 40])
    expect(guard.report).toMatchObject({
      isSlowed: true,
      slowedCount: 1,
      lowestBytesPerSecond: 20 * MIB,
      worstLatencyMs: 80,
    })
    for (let look = 0; look < 12; look += 1) await guard.look(call)
    expect(guard.throttle.bytesPerSecond).toBeUndefined()
    expect(guard.report).toMatchObject({ isSlowed: false, slowedCount: 1 })
  })

  test('takes what was usual all along where the guest did too little just before', async () => {
    const guest = new TestGuest()
    guest.work(1000, 12)
    const guard = await guest.guard()
    guest.work(3, 500)
    await guard.takeBaseline(call)
    expect(guard.report.limitMs).toBe(36)
  })

  test('a guest whose counters begin anew, or cannot be read, changes nothing', async () => {
    const guest = new TestGuest()
    guest.work(100, 1)
    const guard = await guest.guard()
    guest.work(100, 900)
    await guard.look(call)
    const slowed = guard.throttle.bytesPerSecond
    expect(slowed).toBe(80 * MIB)
    guest.restart()
    await guard.look(call)
    expect(guard.throttle.bytesPerSecond).toBe(slowed)
    let answers = true
    const read = async (): Promise<GuestIoCounters> => {
      if (!answers) throw new Error('no answer')
      return { operations: 1, totalTimeNs: 1 }
    }
    const deaf = new LatencyGuard({ read, copyBytesPerSecond: () => 1, settings }, await read())
    answers = false
    await deaf.look(call)
    expect(deaf.throttle.bytesPerSecond).toBeUndefined()
    const aborted = { signal: AbortSignal.abort(new Error('enough')) }
    await expect(deaf.look(aborted)).rejects.toThrow('enough')
  })

  test('slows down while an operation hangs, and ends the copy before the guest takes its disk for broken', async () => {
    let nowMs = 0
    const queues = [{ name: 'disk0', underWayCount: 0, completedMark: 3 }]
    const read = async (): Promise<GuestIoCounters> => ({ operations: 50, totalTimeNs: 1e6, queues: [...queues] })
    const options = { read, copyBytesPerSecond: () => 160 * MIB, settings, nowMs: () => nowMs }
    const guard = new LatencyGuard(options, await read())
    const look = async (underWayCount: number): Promise<number | undefined> => {
      nowMs += 1000
      queues[0] = { name: 'disk0', underWayCount, completedMark: 3 }
      await guard.look(call)
      const rate = guard.throttle.bytesPerSecond
      return rate === undefined ? undefined : rate / MIB
    }
    expect([await look(0), await look(1), await look(1), await look(2)]).toEqual([undefined, undefined, 80, 40])
    for (let more = 0; more < 6; more += 1) expect([await look(1), guard.hurt.aborted].at(-1)).toBe(false)
    await look(1)
    expect(guard.hurt.reason).toMatchObject({ code: 'source.guest_stalled', details: { hungMs: 9000 } })
    expect(guard.report).toMatchObject({ isSlowed: true, lowestBytesPerSecond: 4 * MIB, longestHangMs: 9000 })
  })

  test('looks once a second until it is told to end', async () => {
    const control = new AbortController()
    let looks = 0
    const slept: number[] = []
    const read = async (): Promise<GuestIoCounters> => {
      looks += 1
      if (looks === 4) control.abort(new Error('enough'))
      return { operations: looks, totalTimeNs: looks }
    }
    const clock = { now: () => new Date(0), sleep: async (milliseconds: number) => void slept.push(milliseconds) }
    const guard = new LatencyGuard({ read, copyBytesPerSecond: () => 1, settings, clock }, await read())
    await guard.run({ signal: control.signal })
    expect([looks, slept]).toEqual([4, [1000, 1000, 1000]])
  })
})
