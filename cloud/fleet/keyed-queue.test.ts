import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createKeyedQueue } from './keyed-queue.ts'

test('work of one key runs in order and alone, and never more at once than allowed', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 40 }), async (keys) => {
      const queue = createKeyedQueue({ runningMax: 2, waitingMax: 100, waitingPerKeyMax: 100 })
      const running: string[] = []
      const done: [string, number][] = []
      for (const [index, key] of keys.entries()) {
        const added = queue.add(key, async () => {
          expect(running).not.toContain(key)
          running.push(key)
          expect(running.length).toBeLessThanOrEqual(2)
          await turn()
          running.splice(running.indexOf(key), 1)
          done.push([key, index])
        })
        expect(added).toBe(true)
      }
      while (done.length < keys.length) await turn()
      for (const key of new Set(keys)) {
        const order = done.filter(([of]) => of === key).map(([, index]) => index)
        expect(order).toEqual(order.toSorted((x, y) => x - y))
      }
    }),
    { numRuns: 50 },
  )
})

test('what waits beyond the bound is refused', async () => {
  const queue = createKeyedQueue({ runningMax: 1, waitingMax: 2, waitingPerKeyMax: 2 })
  const blocker = Promise.withResolvers<void>()
  expect(queue.add('a', () => blocker.promise)).toBe(true)
  expect(queue.add('a', () => Promise.resolve())).toBe(true)
  expect(queue.add('b', () => Promise.resolve())).toBe(true)
  expect(queue.add('c', () => Promise.resolve())).toBe(false)
  blocker.resolve()
  await queue[Symbol.asyncDispose]()
  expect(queue.add('a', () => Promise.resolve())).toBe(false)
})

test('a key that floods the queue leaves room for the others', async () => {
  const queue = createKeyedQueue({ runningMax: 1, waitingMax: 10, waitingPerKeyMax: 3 })
  const blocker = Promise.withResolvers<void>()
  const done: string[] = []
  queue.add('blocker', () => blocker.promise)
  const work = (key: string) => async () => void done.push(key)
  expect(Array.from({ length: 20 }, () => queue.add('flood', work('flood'))).filter(Boolean).length).toBe(3)
  expect(queue.add('quiet', work('quiet'))).toBe(true)
  blocker.resolve()
  while (done.length < 4) await turn()
  expect(done).toEqual(['flood', 'flood', 'flood', 'quiet'])
  expect(queue.add('flood', work('flood'))).toBe(true)
})

test('work that is wanted once waits once, and again after it began', async () => {
  const queue = createKeyedQueue({ runningMax: 1, waitingMax: 10, waitingPerKeyMax: 10 })
  const blocker = Promise.withResolvers<void>()
  const runs: string[] = []
  const work = async () => {
    if (runs.push('run') === 1) await blocker.promise
  }
  for (let count = 0; count < 5; count += 1) expect(queue.addOnce('a', work)).toBe(true)
  expect(runs.length).toBe(1)
  blocker.resolve()
  while (runs.length < 2) await turn()
  await queue[Symbol.asyncDispose]()
  expect(runs.length).toBe(2)
})
