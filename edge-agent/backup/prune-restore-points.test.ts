import { randomUUID } from 'node:crypto'
import type { RetentionPolicy } from '@sendense/shared/domain/retention.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { expect, test } from 'vitest'
import { createMemoryDisk } from '../block/memory-disk.ts'
import { createMemoryCatalogue } from '../catalog/memory/memory-catalogue.ts'
import {
  createMemoryRepositoryStore,
  type MemoryRepositoryStore,
  openMemoryRepository,
} from '../repository/memory/memory-repository.ts'
import { backUp, newBackupOf } from '../repository/repository-scenario.ts'
import type { Repository } from '../repository/repository.ts'
import { adoptRestorePoints } from './adopt-restore-points.ts'
import { deleteRestorePoint, settleDeletions } from './delete-restore-point.ts'
import { previewPruning, pruneRestorePoints } from './prune-restore-points.ts'

const call = { signal: AbortSignal.timeout(15_000) }
const nothing = { zone: 'UTC', last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0 }
const keepTwo: RetentionPolicy = { ...nothing, last: 2 }
const notFound = { code: 'repository.restore_point_not_found' }

test('a preview deletes nothing and says what pruning then does, which says nothing new the next time', async () => {
  const site = await openSite()
  const [one, two] = [await site.takePoints(4), await site.takePoints(1)]
  const preview = await previewPruning(site, { policy: keepTwo }, call)
  expect(await site.storedIds()).toEqual([...one.ids, ...two.ids].toSorted())
  const wanted = preview.flatMap(({ decisions }) => decisions.filter(({ keep }) => !keep))
  expect(wanted.map(({ point }) => point.restorePointId).toSorted()).toEqual(one.ids.slice(0, 2).toSorted())

  const pruned = await pruneRestorePoints(site, { policy: keepTwo }, call)
  expect(pruned.map(({ vmId, deleted }) => [vmId, deleted])).toEqual(
    expect.arrayContaining([
      [one.vmId, one.ids.slice(0, 2)],
      [two.vmId, []],
    ]),
  )
  expect(await site.storedIds()).toEqual([...one.ids.slice(2), ...two.ids].toSorted())
  expect(await site.cataloguedIds()).toEqual(await site.storedIds())
  expect(await site.deletionEvents()).toEqual(one.ids.slice(0, 2))
  const again = await pruneRestorePoints(site, { policy: keepTwo }, call)
  expect(again.flatMap(({ deleted }) => deleted)).toEqual([])
})

test('the newest point that passed its verification stays, however old, and so does what is held', async () => {
  const site = await openSite()
  const { ids } = await site.takePoints(5)
  const [first = '', second = '', , , last = ''] = ids
  await site.catalogue.transaction(async (tx) => {
    const report = { restorePointId: first, level: 'L2', outcome: 'passed', checkedBytes: 1, summary: 's' } as const
    await tx.restorePoints.setVerification({ ...report, at: new Date().toISOString() })
    await tx.restorePoints.setHold(second, 'case 17')
  }, call)
  await pruneRestorePoints(site, { policy: { ...nothing, last: 1 } }, call)
  expect(await site.storedIds()).toEqual([first, second, last].toSorted())
  await expect(deleteRestorePoint(site, second, call)).rejects.toMatchObject({ code: 'repository.restore_point_held' })
  await site.catalogue.transaction(async (tx) => await tx.restorePoints.setHold(second, undefined), call)
  await deleteRestorePoint(site, second, call)
  expect(await site.storedIds()).toEqual([first, last].toSorted())
})

test('a VM that is being backed up keeps all until the next time, and no other VM minds', async () => {
  const site = await openSite()
  const [busy, idle] = [await site.takePoints(3), await site.takePoints(3)]
  const disk = {
    diskId: 'disk0',
    sizeBytes: 65_536,
    mode: 'full',
    source: createMemoryDisk({ sizeBytes: 65_536 }),
  } as const
  {
    await using _writer = await site.repository.openBackup(newBackupOf({ vmId: busy.vmId, disks: [disk] }), call)
    const pruned = await pruneRestorePoints(site, { policy: { ...nothing, last: 1 } }, call)
    const of = (vmId: string) => pruned.find((each) => each.vmId === vmId)
    expect(of(busy.vmId)).toMatchObject({ deleted: [], failed: { code: 'repository.locked' } })
    expect(of(idle.vmId)?.deleted).toEqual(idle.ids.slice(0, 2))
  }
  const marked = await site.catalogue.transaction(
    async (tx) => await tx.restorePoints.listDeleting(site.repository.repositoryId),
    call,
  )
  expect(marked).toEqual([])
  const later = await pruneRestorePoints(site, { policy: { ...nothing, last: 1 } }, call)
  expect(later.flatMap(({ deleted }) => deleted)).toEqual(busy.ids.slice(0, 2))
})

test('a repository of which a manifest cannot be read loses nothing', async () => {
  const site = await openSite()
  const { ids } = await site.takePoints(3)
  const broken: Repository = Object.create(site.repository, {
    listRestorePoints: {
      value: async function* (filter: object, options: typeof call) {
        yield* site.repository.listRestorePoints(filter, options)
        throw new PlatformError('repository.manifest_invalid', 'a manifest is damaged')
      },
    },
    getCapacity: { value: site.repository.getCapacity.bind(site.repository) },
    repositoryId: { value: site.repository.repositoryId },
  })
  const pruned = await pruneRestorePoints({ ...site, repository: broken }, { policy: { ...nothing, last: 1 } }, call)
  expect(pruned).toMatchObject([{ deleted: [], failed: { code: 'repository.manifest_invalid' } }])
  expect(await site.storedIds()).toEqual(ids.toSorted())
})

test('points that are sealed and not catalogued yet count', async () => {
  const site = await openSite()
  const { vmId, ids } = await site.takePoints(2)
  const { ids: late } = await site.takePoints(2, { vmId, adopt: false })
  await pruneRestorePoints(site, { policy: keepTwo }, call)
  expect(await site.storedIds()).toEqual(late.toSorted())
  expect(await site.deletionEvents()).toEqual(ids)
})

test('a deletion that was cut off is finished at the start where the manifest is gone, and given up where it is there', async () => {
  const site = await openSite()
  const { ids } = await site.takePoints(4)
  const [marked = '', gone = '', lost = ''] = ids
  await site.catalogue.transaction(async (tx) => {
    for (const id of [marked, gone]) await tx.restorePoints.setDeleting(id, new Date())
  }, call)
  for (const id of [gone, lost]) await site.repository.deleteRestorePoint(id, call)
  expect(await settleDeletions(site, call)).toEqual([gone])
  expect(await site.deletionEvents()).toEqual([gone])
  // One that is gone without anybody having meant it stays known: somebody must look.
  expect(await site.cataloguedIds()).toEqual(ids.filter((id) => id !== gone).toSorted())
  expect(await settleDeletions(site, call)).toEqual([])
  await deleteRestorePoint(site, marked, call)
  await expect(deleteRestorePoint(site, marked, call)).rejects.toMatchObject(notFound)
  await expect(deleteRestorePoint(site, randomUUID(), call)).rejects.toMatchObject(notFound)
})

test('the base of change tracking goes with its point: nothing is built on what is not there', async () => {
  const site = await openSite()
  const { vmId, ids } = await site.takePoints(2)
  const trackingOf = async () =>
    (await site.catalogue.transaction(async (tx) => await tx.vms.find(vmId), call))?.disks.map(
      ({ tracking }) => tracking,
    )
  const [first = '', second = ''] = ids
  const tracking = {
    restorePointId: second,
    manifestHash: '0'.repeat(64),
    checkpoint: 'cp',
    granularityBytes: 65_536,
    sizeBytes: 65_536,
  }
  await site.catalogue.transaction(async (tx) => await tx.vms.setTracking(vmId, new Map([['disk0', tracking]])), call)
  await deleteRestorePoint(site, first, call)
  expect(await trackingOf()).toEqual([tracking])
  await deleteRestorePoint(site, second, call)
  expect(await trackingOf()).toEqual([undefined])
})

async function openSite(store: MemoryRepositoryStore = createMemoryRepositoryStore()) {
  const catalogue = createMemoryCatalogue()
  const repository = openMemoryRepository(store)
  const { repositoryId } = repository
  const record = { repositoryId, name: 'local', kind: 'qcow2-chain', location: 'memory' } as const
  await catalogue.transaction(async (tx) => await tx.repositories.put(record), call)
  let minute = 0
  const takePoints = async (
    count: number,
    { vmId = randomUUID(), adopt = true }: { readonly vmId?: string; readonly adopt?: boolean } = {},
  ) => {
    const ids: string[] = []
    for (let taken = 0; taken < count; taken += 1) {
      minute += 1
      const source = createMemoryDisk({ sizeBytes: 65_536 })
      const disk = { diskId: 'disk0', sizeBytes: 65_536, mode: 'full', source } as const
      const takenAt = new Date(1_700_000_000_000 + minute * 60_000)
      ids.push((await backUp(repository, { vmId, takenAt, disks: [disk] }, call)).manifest.restorePointId)
    }
    if (adopt) await adoptRestorePoints({ catalogue, repository, ...call })
    return { vmId, ids }
  }
  return {
    catalogue,
    repository,
    clock: systemClock,
    takePoints,
    storedIds: async () => {
      const all = await Array.fromAsync(repository.listRestorePoints({}, call))
      return all.map(({ manifest }) => manifest.restorePointId).toSorted()
    },
    cataloguedIds: async () => {
      const rows = await catalogue.transaction(async (tx) => await tx.restorePoints.list({ limit: 1000 }), call)
      return rows.map(({ restorePointId }) => restorePointId).toSorted()
    },
    deletionEvents: async () => {
      const events = await catalogue.transaction(async (tx) => await tx.outbox.list({ after: 0, limit: 1000 }), call)
      return events.flatMap(({ event }) => (event.type === 'restore-point-deleted' ? [event.restorePointId] : []))
    },
  }
}
