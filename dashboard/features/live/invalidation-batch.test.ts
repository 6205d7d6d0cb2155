import type { QueryKey } from '@tanstack/react-query'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { InvalidationBatch } from './invalidation-batch.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('a burst is handed over once, each key once', () => {
  const seen: QueryKey[] = []
  using batch = new InvalidationBatch(200, (key) => seen.push(key))
  for (let event = 0; event < 50; event += 1) batch.add([[['job', 'list']], [['vm']]])
  expect(seen).toEqual([])
  vi.advanceTimersByTime(200)
  expect(seen).toEqual([[['job', 'list']], [['vm']]])
  vi.advanceTimersByTime(1000)
  expect(seen).toHaveLength(2)
})

test('a steady stream is handed over all the time, not only when it ends', () => {
  let handed = 0
  using batch = new InvalidationBatch(200, () => (handed += 1))
  for (let event = 0; event < 20; event += 1) {
    batch.add([[['vm']]])
    vi.advanceTimersByTime(100)
  }
  expect(handed).toBeGreaterThanOrEqual(9)
})

test('after disposal nothing is handed over', () => {
  let handed = 0
  const batch = new InvalidationBatch(200, () => (handed += 1))
  batch.add([[['vm']]])
  batch[Symbol.dispose]()
  vi.advanceTimersByTime(1000)
  expect(handed).toBe(0)
})
