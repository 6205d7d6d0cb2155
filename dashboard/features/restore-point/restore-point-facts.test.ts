import type { DiskBackupFacts } from '@sendense/shared/contracts/restore-point.ts'
import { backupReasonCodes, backupReasons } from '@sendense/shared/domain/backup-reason.ts'
import { expect, test } from 'vitest'
import type { z } from 'zod'
import { diskReasons, sumDisks, verificationWords } from './restore-point-facts.ts'

type DiskFacts = z.infer<typeof DiskBackupFacts>

function disk(diskId: string, fields: Partial<DiskFacts> = {}): DiskFacts {
  return {
    diskId,
    sizeBytes: 1000,
    mode: 'incremental',
    reason: 'INCREMENTAL',
    readBytes: 100,
    writtenBytes: 90,
    zeroedBytes: 10,
    storedBytes: 95,
    ...fields,
  }
}

test('bytes of all disks are added, and each mode is named once', () => {
  const disks = [disk('disk0'), disk('disk1'), disk('disk2', { mode: 'full', reason: 'FULL_FIRST', readBytes: 1000 })]
  expect(sumDisks(disks)).toEqual({
    readBytes: 1200,
    storedBytes: 285,
    sizeBytes: 3000,
    modes: ['incremental', 'full'],
  })
})

test('disks with the same reason share its sentence', () => {
  const reasons = diskReasons([disk('disk0'), disk('disk1'), disk('disk2', { mode: 'full', reason: 'FULL_FIRST' })])
  expect(reasons).toEqual([
    { diskIds: ['disk0', 'disk1'], sentence: backupReasons.INCREMENTAL.sentence },
    { diskIds: ['disk2'], sentence: backupReasons.FULL_FIRST.sentence },
  ])
})

test.each(backupReasonCodes)('%s has a sentence', (reason) => {
  expect(diskReasons([disk('disk0', { reason })])[0]?.sentence).toMatch(/\.$/)
})

test('a restore point is only called verified after a check that passed', () => {
  const verification = { restorePointId: '', level: 'L2', at: '', checkedBytes: 1, summary: '' } as const
  expect(verificationWords({ lastVerification: null }).word).toBe('Not verified')
  expect(verificationWords({ lastVerification: { ...verification, outcome: 'passed' } }).word).toBe('Verified')
  expect(verificationWords({ lastVerification: { ...verification, outcome: 'failed' } }).tone).toBe('danger')
})
