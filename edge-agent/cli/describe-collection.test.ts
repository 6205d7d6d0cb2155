import { expect, test } from 'vitest'
import { type CollectionReport, emptyReport } from '../repository/chunk-store/collect/collection-report.ts'
import { describeCollection } from './describe-collection.ts'

function reportOf(changes: Partial<CollectionReport>, isDryRun = false): CollectionReport {
  return { ...emptyReport('b7a5e2f0-1111-4111-8111-111111111111', isDryRun, new Date(0)), ...changes }
}

test('a report says what was done, what waits and for what, and why it stopped', () => {
  const report = reportOf({
    restorePoints: 12,
    stored: { packs: 40, bytes: 640 * 1024 * 1024 },
    condemned: { packs: 3, bytes: 1024 },
    deleted: { packs: 2, bytes: 2048 },
    locked: { packs: 1, bytes: 512 },
    waiting: [{ runId: 'c', packs: 3, why: 'grace' }],
    stopped: { code: 'repository.object_corrupt', message: 'sets/x: it is damaged' },
  })
  const text = describeCollection(report)
  for (const part of [
    '12 restore points in 40 packs',
    'condemned: 3 packs',
    'deleted: 2 packs',
    'kept because the storage protects them: 1 packs',
    '3 packs wait: it was condemned less than a day ago',
    'stopped, nothing more was deleted: repository.object_corrupt: sets/x: it is damaged',
  ]) {
    expect(text).toContain(part)
  }
})

test('of a dry run it says what would be done', () => {
  const text = describeCollection(reportOf({ left: { packs: 4, bytes: 4096 } }, true))
  expect(text).toContain('would be deleted: 4 packs')
  expect(text).not.toContain('left for the next run')
})
