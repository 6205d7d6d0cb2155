import { expect, test } from 'vitest'
import { closingLine, sumCountLines } from './test-counts.ts'

test('the counts of several runs are summed into one line', () => {
  const lines = '{"passed":2,"failed":0,"skipped":1}\n{"passed":40,"failed":3,"skipped":0}\n'
  expect(closingLine(sumCountLines(lines))).toBe('42 passed, 3 failed, 1 skipped')
})

test('a line that is not counts is an error and never counts as nothing', () => {
  expect(() => sumCountLines('{"passed":2}\n')).toThrow('failed')
})
