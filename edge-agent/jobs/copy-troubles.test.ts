import { expect, test } from 'vitest'
import { troublesNote, troublesSentence } from './copy-troubles.ts'

test.each([
  [{ retriedReads: 0, rewinds: 0 }, undefined, ''],
  [
    { retriedReads: 1, rewinds: 0 },
    '1 read failed and had to be tried again: look at the disks and their storage.',
    ' (1 read tried again)',
  ],
  [
    { retriedReads: 3, rewinds: 2 },
    '3 reads failed and had to be tried again; the copy had to go back to a checkpoint 2 times: look at the disks and their storage.',
    ' (3 reads tried again, went back 2 times)',
  ],
])('%o', (troubles, sentence, note) => {
  expect([troublesSentence(troubles), troublesNote(troubles)]).toEqual([sentence, note])
})
