import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createKeyedQueue } from './keyed-queue.ts'

test('work of one key runs in order and alone, and never more at once than allowed', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 40 }), async (keys) => {
      const queue = createKeyedQueue({ runningMax: 2, waitingMax: 100 })
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
  const queue = createKeyedQueue({ runningMax: 1, waitingMax: 2 })
  const blocker = Promise.withResolvers<void>()
  expect(queue.add('a', () => blocker.promise)).toBe(true)
  expect(queue.add('a', () => Promise.resolve())).toBe(true)
  expect(queue.add('b', () => Promise.resolve())).toBe(true)
  expect(queue.add('c', () => Promise.resolve())).toBe(false)
  blocker.resolve()
  await queue[Symbol.asyncDispose]()
  expect(queue.add('a', () => Promise.resolve())).toBe(false)
})
