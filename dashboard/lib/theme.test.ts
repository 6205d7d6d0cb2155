import { expect, test } from 'vitest'
import { parseTheme } from './theme.ts'

test.each([
  ['dark', 'dark'],
  ['light', 'light'],
  ['system', 'system'],
  ['"><script>', 'system'],
  [undefined, 'system'],
])('the cookie %s gives the theme %s', (text, theme) => {
  expect(parseTheme(text)).toBe(theme)
})
