import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type GuestQueue, HangWatch } from './hang-watch.ts'

function queue(name: string, underWayCount: number, completedMark: number): GuestQueue {
  return { name, underWayCount, completedMark }
}

describe('a watch for hangs', () => {
  test('tells how long nothing was completed while something was under way, on whichever queue', () => {
    const watch = new HangWatch()
    expect(watch.note([queue('a', 1, 7), queue('b', 0, 0)], 1000)).toBe(0)
    expect(watch.note([queue('a', 2, 7), queue('b', 1, 0)], 2000)).toBe(1000)
    expect(watch.note([queue('a', 1, 8), queue('b', 1, 0)], 3000)).toBe(1000)
    expect(watch.note([queue('a', 1, 8), queue('b', 1, 0)], 9000)).toBe(7000)
    expect(watch.note([queue('a', 0, 9), queue('b', 1, 1)], 10_000)).toBe(0)
  })

  test('an idle guest does not hang, nor does a queue that came to rest in between, nor one that is gone', () => {
    const watch = new HangWatch()
    watch.note([queue('a', 1, 7)], 0)
    expect(watch.note([queue('a', 0, 7)], 5000)).toBe(0)
    expect(watch.note([queue('a', 1, 7)], 6000)).toBe(0)
    expect(watch.note([], 9000)).toBe(0)
    expect(watch.note([queue('a', 1, 7)], 10_000)).toBe(0)
  })

  test('never takes a hang for longer than it was seen', () => {
    const anyLook = fc.record({ afterMs: fc.nat(2000), underWay: fc.nat(2), completes: fc.boolean() })
    fc.assert(
      fc.property(fc.array(anyLook, { maxLength: 40 }), (looks) => {
        const watch = new HangWatch()
        let nowMs = 0
        let completed = 0
        let stuckSinceMs: number | undefined
        for (const { afterMs, underWay, completes } of looks) {
          nowMs += afterMs
          if (completes) completed += 1
          if (underWay === 0) stuckSinceMs = undefined
          else if (completes) stuckSinceMs = nowMs
          else stuckSinceMs ??= nowMs
          expect(watch.note([queue('a', underWay, completed)], nowMs)).toBe(nowMs - (stuckSinceMs ?? nowMs))
        }
      }),
    )
  })
})
