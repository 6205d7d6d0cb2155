import { once } from 'node:events'
import { expect, test } from 'vitest'
import { together } from './together.ts'

const { signal } = new AbortController()

test('the first failure reaches the caller only when every other line has ended', async () => {
  let otherHasEnded = false
  const running = together(signal, async (lane) => {
    const slow = lane(async (own) => {
      await once(own, 'abort')
      await Promise.resolve()
      otherHasEnded = true
    })
    const broken = lane(async () => await Promise.reject(new Error('broken')))
    await Promise.all([slow, broken])
  })
  await expect(running).rejects.toThrow('broken')
  expect(otherHasEnded).toBe(true)
})

test('an abort from outside is the reason that the caller sees', async () => {
  const outside = new AbortController()
  const running = together(outside.signal, async (lane) => {
    await lane(async (own) => {
      outside.abort(new Error('stop'))
      own.throwIfAborted()
    })
  })
  await expect(running).rejects.toThrow('stop')
})

test('without failure the result is returned', async () => {
  expect(await together(signal, async (lane) => (await lane(async () => 2)) + 1)).toBe(3)
})
