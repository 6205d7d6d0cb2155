import { expect, test } from 'vitest'
import { asSentence } from './as-sentence.ts'

test.each([
  ['a backup of demo-vm has not ended yet', 'A backup of demo-vm has not ended yet'],
  ['e-mail address or password is wrong', 'E-mail address or password is wrong'],
  ['nobody is logged in', 'Nobody is logged in'],
  ['demo-vm exists already', 'demo-vm exists already'],
  ['vm2 is not running', 'vm2 is not running'],
  ['VM x is not there', 'VM x is not there'],
  ['', ''],
])('%s → %s', (message, sentence) => {
  expect(asSentence(message)).toBe(sentence)
})
