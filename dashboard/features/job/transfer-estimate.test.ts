import fc from 'fast-check'
import { expect, test } from 'vitest'
import { remainingMs, transferPercent, transferSentence } from './transfer-estimate.ts'

const MIB = 1024 * 1024

test('the percentage stays between 0 and 100 and is unknown without a total', () => {
  expect(transferPercent({ doneBytes: 5, totalBytes: 0, bytesPerSecond: 1 })).toBeNull()
  const amount = fc.nat({ max: 2 ** 45 })
  fc.assert(
    fc.property(amount, fc.integer({ min: 1, max: 2 ** 45 }), (doneBytes, totalBytes) => {
      const percent = transferPercent({ doneBytes, totalBytes, bytesPerSecond: 1 })
      expect(percent).toBeGreaterThanOrEqual(0)
      expect(percent).toBeLessThanOrEqual(100)
    }),
  )
})

test('the time left follows the rate', () => {
  expect(remainingMs({ doneBytes: 100 * MIB, totalBytes: 300 * MIB, bytesPerSecond: 50 * MIB })).toBe(4000)
})

test.each([
  { doneBytes: 5, totalBytes: 0, bytesPerSecond: 10 },
  { doneBytes: 5, totalBytes: 10, bytesPerSecond: 0 },
  { doneBytes: 10, totalBytes: 10, bytesPerSecond: 5 },
  { doneBytes: 12, totalBytes: 10, bytesPerSecond: 5 },
])('no time is promised for $doneBytes of $totalBytes at $bytesPerSecond', (transfer) => {
  expect(remainingMs(transfer)).toBeNull()
})

test('the sentence leaves out what is not known', () => {
  const all = { doneBytes: 100 * MIB, totalBytes: 300 * MIB, bytesPerSecond: 50 * MIB }
  expect(transferSentence(all)).toBe('100 MiB of 300 MiB · 50 MiB/s · about 4 s left')
  expect(transferSentence({ ...all, totalBytes: 0 })).toBe('100 MiB · 50 MiB/s')
  expect(transferSentence({ ...all, bytesPerSecond: 0 })).toBe('100 MiB of 300 MiB')
  expect(transferSentence({ doneBytes: 0, totalBytes: 0, bytesPerSecond: 0 })).toBe('')
})

test('an end in under a second is told as one second', () => {
  expect(transferSentence({ doneBytes: 299 * MIB, totalBytes: 300 * MIB, bytesPerSecond: 50 * MIB })).toContain(
    'about 1 s left',
  )
})
