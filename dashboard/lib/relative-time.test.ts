import { expect, test } from 'vitest'
import { formatRelativeTime } from './relative-time.ts'

const now = Date.parse('2026-11-23T12:00:00.000Z')
const before = (ms: number) => new Date(now - ms).toISOString()
const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

test.each([
  [0, 'just now'],
  [44_000, 'just now'],
  [-20_000, 'just now'],
  [46_000, '1 min ago'],
  [59.4 * MINUTE, '59 min ago'],
  [60 * MINUTE, '1 h ago'],
  [47 * HOUR, '47 h ago'],
  [3 * DAY, '3 d ago'],
  [30 * DAY, '30 d ago'],
  [-5 * MINUTE, 'in 5 min'],
  [-DAY, 'in 24 h'],
])('%i ms before now is told as "%s"', (ms, text) => {
  expect(formatRelativeTime(before(ms), now)).toBe(text)
})

test('what is longer ago than 30 days is told as a date', () => {
  expect(formatRelativeTime(before(31 * DAY), now)).toMatch(/2026/)
})
