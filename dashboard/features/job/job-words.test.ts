import type { JobResult } from '@sendense/shared/contracts/job.ts'
import { expect, test } from 'vitest'
import { jobOutcome } from './job-words.ts'

const id = '7b0a2f3e-55cf-4a19-9d0e-0a4d3f1f2c11'
const results: readonly (readonly [JobResult, string])[] = [
  [{ kind: 'backup', restorePointId: id, readBytes: 2048, storedBytes: 1024 }, '2 KiB read, 1 KiB stored'],
  [{ kind: 'restore', vmId: id, vmName: 'new', writtenBytes: 1 }, 'New VM new'],
  [
    {
      kind: 'restore',
      vmId: id,
      vmName: 'new',
      writtenBytes: 1,
      bootProof: { by: 'console', evidence: 'login:', secondsToUp: 3 },
    },
    'New VM new, seen running',
  ],
  [{ kind: 'verify', restorePointId: id, checkedBytes: 1, summary: 'All chunks match.' }, 'All chunks match.'],
]

test.each(results)('a %o is told in a few words', (result, words) => {
  expect(jobOutcome({ result, error: null })).toBe(words)
})

test('an error is told before a result, and nothing while there is neither', () => {
  const error = { code: 'repository.no_space', message: 'No space in local.', advice: 'Free some.', details: {} }
  expect(jobOutcome({ result: results[0]?.[0] ?? null, error })).toBe('No space in local.')
  expect(jobOutcome({ result: null, error: null })).toBeNull()
})
