import { describe, expect, test } from 'vitest'
import { SlabWindow } from './slab-window.ts'

const MIB = 1024 * 1024

/** A path that carries so many runs a millisecond with so many in flight. */
type Path = (inFlight: number) => number

const FAR: Path = (inFlight) => inFlight / 20
const NEAR: Path = () => 1
/** 6 ms of way, two runs a millisecond at most. */
const BOTH: Path = (inFlight) => Math.min(2, inFlight / 6)

let simulatedMs = 0

/** Runs end evenly, as the path says of the window that is open. @returns the sizes it had at the end of each run */
function simulate(window: SlabWindow, path: Path, runs = 4000): number[] {
  const sizes: number[] = []
  for (let run = 0; run < runs; run += 1) {
    simulatedMs += 1 / path(window.size)
    window.note(MIB, simulatedMs)
    sizes.push(window.size)
  }
  return sizes
}

function usual(sizes: readonly number[]): number | undefined {
  const late = sizes.slice(sizes.length / 2).toSorted((left, right) => left - right)
  return late[Math.floor(late.length / 2)]
}

describe('the window of a copy', () => {
  test('opens wide where each round trip takes long whatever is in flight', () => {
    expect(usual(simulate(new SlabWindow(16), FAR))).toBe(16)
    expect(simulate(new SlabWindow(16), FAR, 200)).toContain(16)
  })

  test('stays small where more in flight only makes each take longer', () => {
    expect(usual(simulate(new SlabWindow(16), NEAR))).toBe(4)
  })

  test('finds what the path holds where both play a part', () => {
    expect(usual(simulate(new SlabWindow(64), BOTH))).toBe(16)
  })

  test('follows a path that changes', () => {
    const window = new SlabWindow(16)
    simulate(window, NEAR)
    expect(usual(simulate(window, FAR))).toBe(16)
    expect(usual(simulate(window, NEAR))).toBe(4)
  })

  test('is not misled by runs that take very different times', () => {
    const window = new SlabWindow(16)
    let nowMs = 0
    const sizes: number[] = []
    for (let run = 0; run < 8000; run += 1) {
      // Every other run is answered from a cache.
      nowMs += run % 2 === 0 ? 0.1 : 40 / window.size
      window.note(MIB, nowMs)
      sizes.push(window.size)
    }
    expect(usual(sizes)).toBe(16)
  })

  test('never leaves its bounds', () => {
    for (const max of [1, 2, 3, 5, 16]) {
      const window = new SlabWindow(max)
      const sizes = [FAR, NEAR, BOTH].flatMap((path) => simulate(window, path, 500))
      expect(Math.min(...sizes)).toBeGreaterThanOrEqual(Math.min(4, max))
      expect(Math.max(...sizes)).toBeLessThanOrEqual(max)
    }
  })
})
