import type { BackupReason } from '@sendense/shared/domain/backup-reason.ts'
import { describe, expect, test } from 'vitest'
import { chooseMode, type ModeQuestion } from './choose-mode.ts'

const base = { diskId: 'disk0', sizeBytes: 1024, checkpoint: 'sendense-1', granularityBytes: 65_536 }
const intact: ModeQuestion = {
  full: false,
  base,
  sizeBytes: 1024,
  tracks: true,
  checkpoint: { granularityBytes: 65_536, intact: true },
}
const without = { base: undefined, checkpoint: undefined }

describe('mode and reason of a disk', () => {
  const cases: [string, Partial<ModeQuestion>, BackupReason][] = [
    ['an intact checkpoint', {}, 'INCREMENTAL'],
    ['no base', without, 'FULL_FIRST'],
    ['no base, on a disk without tracking', { ...without, tracks: false }, 'FULL_FIRST'],
    ['a person asked for a full one', { full: true }, 'FULL_REQUESTED'],
    ['a person asked, and there is no base', { full: true, ...without }, 'FULL_REQUESTED'],
    ['the disk grew', { sizeBytes: 2048 }, 'FULL_RESIZED'],
    ['the checkpoint is gone', { checkpoint: undefined }, 'COMPARE_TRACKING_LOST'],
    [
      'the checkpoint missed changes',
      { checkpoint: { granularityBytes: 65_536, intact: false } },
      'COMPARE_TRACKING_LOST',
    ],
    ['the checkpoint is coarser', { checkpoint: { granularityBytes: 131_072, intact: true } }, 'COMPARE_TRACKING_LOST'],
    ['the base has no trusted checkpoint', { base: { ...base, checkpoint: '' } }, 'COMPARE_TRACKING_LOST'],
    ['the disk cannot track', { tracks: false, checkpoint: undefined }, 'COMPARE_NO_TRACKING'],
  ]
  test.each(cases)('%s', (_, change, reason) => {
    expect(chooseMode({ ...intact, ...change }).reason).toBe(reason)
  })
})
