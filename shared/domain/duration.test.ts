import { expect, test } from 'vitest'
import { formatDuration } from './duration.ts'

test.each([
  [-5, '0 s'],
  [0, '0 s'],
  [400, '0.4 s'],
  [9940, '9.9 s'],
  [9990, '10 s'],
  [59_400, '59 s'],
  [59_600, '1 min'],
  [185_000, '3 min 5 s'],
  [3_600_000, '1 h'],
  [8_040_000, '2 h 14 min'],
  [86_400_000, '1 d'],
  [273_600_000, '3 d 4 h'],
])('%d ms read as %s', (milliseconds, text) => {
  expect(formatDuration(milliseconds)).toBe(text)
})
