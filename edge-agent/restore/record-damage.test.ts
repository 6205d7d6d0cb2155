import { randomUUID } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { expect, test } from 'vitest'
import { adoptRestorePoints } from '../backup/adopt-restore-points.ts'
import { createMemoryDisk } from '../block/memory-disk.ts'
import { createMemoryCatalogue } from '../catalog/memory/memory-catalogue.ts'
import { openMemoryRepository } from '../repository/memory/memory-repository.ts'
import { backUp } from '../repository/repository-scenario.ts'
import { recordDamage } from './record-damage.ts'

const call = { signal: AbortSignal.timeout(15_000) }

test('a damaged point is told as a failed verification and an alert; one that is being deleted, or is gone, is not', async () => {
  const catalogue = createMemoryCatalogue()
  const repository = openMemoryRepository()
  const { repositoryId } = repository
  const record = { repositoryId, name: 'local', kind: 'qcow2-chain', location: 'memory' } as const
  await catalogue.transaction(async (tx) => await tx.repositories.put(record), call)
  const disk = {
    diskId: 'disk0',
    sizeBytes: 65_536,
    mode: 'full',
    source: createMemoryDisk({ sizeBytes: 65_536 }),
  } as const
  const { manifest } = await backUp(repository, { vmId: randomUUID(), disks: [disk] }, call)
  await adoptRestorePoints({ catalogue, repository, ...call })
  const { restorePointId } = manifest
  const error = new PlatformError('repository.restore_point_not_found', 'it is not there')
  const told = async (): Promise<string[]> => {
    const parts = { catalogue, clock: systemClock, newId: randomUUID }
    const after = await catalogue.transaction(async (tx) => await tx.outbox.highMark(), call)
    await recordDamage(parts, { restorePointId, error, facts: [] }, call)
    const events = await catalogue.transaction(async (tx) => await tx.outbox.list({ after, limit: 10 }), call)
    return events.map(({ event }) => event.type)
  }
  expect(await told()).toEqual(['restore-point-verified', 'alert-raised'])
  await catalogue.transaction(async (tx) => await tx.restorePoints.setDeleting(restorePointId, new Date()), call)
  expect(await told()).toEqual([])
  await catalogue.transaction(async (tx) => await tx.restorePoints.remove(restorePointId), call)
  expect(await told()).toEqual([])
})
