import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { adoptRestorePoints } from '../backup/adopt-restore-points.ts'
import { recordRestorePoint } from '../backup/record-restore-point.ts'
import { createMemoryCatalogue } from '../catalog/memory/memory-catalogue.ts'
import { createMover } from '../mover/create-mover.ts'
import { copyMissing } from '../repository/copy/copy-missing.ts'
import { createMemoryRepositoryStore, openMemoryRepository } from '../repository/memory/memory-repository.ts'
import { createSimulatedAgent, createSimulatedSite, type SimulatedSite } from './simulated-agent.ts'

const signal = AbortSignal.timeout(60_000)
const GRAIN_BYTES = 65_536

/** A site with a VM, and a second repository that its restore points are copied to. */
async function openScene() {
  const site = createSimulatedSite()
  const disks = [{ diskId: 'disk0', sizeBytes: 1024 * 1024 }]
  const platformRef = site.hypervisor.addVm({ name: 'web-1', disks })
  const elsewhere = createMemoryRepositoryStore({ chunkSizeBytes: 131_072, idKey: new Uint8Array(32).fill(9) })
  return {
    site,
    elsewhere,
    now: () => site.hypervisor.disk(platformRef, 'disk0').bytes,
    async fill(grain: number, value: number) {
      const bytes = new Uint8Array(GRAIN_BYTES).fill(value)
      await site.hypervisor.disk(platformRef, 'disk0').write(grain * GRAIN_BYTES, bytes, { signal })
    },
    /** One backup by an agent with that storage and catalogue, and what it recorded. */
    async backUp({ storage, catalogue, hypervisor }: SimulatedSite) {
      const agent = createSimulatedAgent({ storage, catalogue, hypervisor })
      await agent.start()
      const vm = await catalogue.transaction(async (tx) => await tx.vms.findByRef('kvm', platformRef), { signal })
      const jobId = randomUUID()
      const { repositoryId } = storage
      const vmId = vm?.vmId ?? ''
      await agent.order({ type: 'backup-vm', jobId, vmId, repositoryId, mode: 'auto', quiesce: false })
      const job = await agent.jobEnded(jobId)
      expect(job.state).toBe('succeeded')
      await agent.stop()
      const point = await catalogue.transaction(async (tx) => await tx.restorePoints.findByJob(jobId), { signal })
      return { vmId, point, content: storage.points.get(point?.restorePointId ?? '')?.disks.get('disk0')?.bytes }
    },
    async copy() {
      await using mover = createMover({ threadsMax: 1 })
      const [source, target] = [openMemoryRepository(site.storage), openMemoryRepository(elsewhere)]
      return await copyMissing(source, target, {}, { mover, signal })
    },
  }
}

test('copying takes nothing from the repository that is copied: its next backup is an increment', async () => {
  const scene = await openScene()
  await scene.fill(0, 1)
  await scene.backUp(scene.site)
  expect(await scene.copy()).toMatchObject({ copied: 1 })
  await scene.fill(1, 2)
  const { point, content } = await scene.backUp(scene.site)
  expect(point?.disks[0]?.reason).toBe('INCREMENTAL')
  expect(content).toEqual(scene.now())
})

test('a backup to where the copies are believes no checkpoint of the other repository', async () => {
  const scene = await openScene()
  await scene.fill(0, 1)
  await scene.backUp(scene.site)
  await scene.copy()
  await scene.fill(1, 2)
  await scene.backUp(scene.site)
  await scene.fill(2, 3)
  const { point, content } = await scene.backUp({ ...scene.site, storage: scene.elsewhere })
  expect(point?.disks[0]?.mode).not.toBe('incremental')
  expect(content).toEqual(scene.now())
})

test('with the first repository and its catalogue lost, the copies are adopted, and the next backup compares with them', async () => {
  const scene = await openScene()
  await scene.fill(0, 1)
  const first = await scene.backUp(scene.site)
  await scene.copy()
  await scene.fill(1, 2)
  const left = { ...scene.site, storage: scene.elsewhere, catalogue: createMemoryCatalogue() }
  // The new catalogue knows the VM from its copies, under the id that it had.
  const repository = openMemoryRepository(left.storage)
  const adopted = await adoptRestorePoints({ catalogue: left.catalogue, repository, signal })
  expect(adopted).toEqual([first.point?.restorePointId])
  const vm = await left.catalogue.transaction(async (tx) => await tx.vms.find(first.vmId), { signal })
  expect(vm?.disks.map(({ tracking }) => tracking)).toEqual([undefined])
  const { vmId, point, content } = await scene.backUp(left)
  expect(vmId).toBe(first.vmId)
  expect(point?.disks[0]?.mode).toBe('compare')
  expect(point?.parentRestorePointId).toBe(first.point?.restorePointId)
  expect(content).toEqual(scene.now())
})

test('a copy that is adopted does not take the place of the base of change tracking', async () => {
  const scene = await openScene()
  await scene.fill(0, 1)
  const { vmId, point } = await scene.backUp(scene.site)
  await scene.copy()
  const { catalogue } = scene.site
  const trackingOf = async () =>
    (await catalogue.transaction(async (tx) => await tx.vms.find(vmId), { signal }))?.disks[0]?.tracking
  const before = await trackingOf()
  expect(before?.restorePointId).toBe(point?.restorePointId)
  const copy = scene.elsewhere.points.get(point?.restorePointId ?? '')?.sealed
  if (copy === undefined) throw new Error('the point was copied')
  // As if the catalogue had lost the row of the point, and the copy were found first.
  const takenAt = new Date(Date.parse(copy.manifest.takenAt) + 1).toISOString()
  const manifest = { ...copy.manifest, restorePointId: randomUUID(), takenAt }
  await catalogue.transaction(async (tx) => await recordRestorePoint(tx, { ...copy, manifest }, { adopted: true }), {
    signal,
  })
  expect(await trackingOf()).toEqual(before)
})
