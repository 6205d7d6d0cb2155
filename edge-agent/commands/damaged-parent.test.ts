import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { createMemoryRepositoryStore } from '../repository/memory/memory-repository.ts'
import { createSimulatedAgent, createSimulatedSite, type SimulatedAgentOptions } from './simulated-agent.ts'

const signal = AbortSignal.timeout(60_000)
const SIZE_BYTES = 1024 * 1024
const GRAIN_BYTES = 65_536

/** Chunks are larger than what the tracker tells apart, so an increment has to read its base. */
async function openScene(options: SimulatedAgentOptions = {}) {
  const storage = createMemoryRepositoryStore({ chunkSizeBytes: 4 * GRAIN_BYTES })
  const site = { ...createSimulatedSite(), storage }
  const disks = ['disk0', 'disk1'].map((diskId) => ({ diskId, sizeBytes: SIZE_BYTES }))
  const platformRef = site.hypervisor.addVm({ name: 'web-1', disks })
  const agent = createSimulatedAgent(site, options)
  await agent.start()
  const vm = await site.catalogue.transaction(async (tx) => await tx.vms.findByRef('kvm', platformRef), { signal })
  const { repositoryId } = storage
  return {
    site,
    agent,
    async fill(diskId: string, grain: number, value: number) {
      const bytes = new Uint8Array(GRAIN_BYTES).fill(value)
      await site.hypervisor.disk(platformRef, diskId).write(grain * GRAIN_BYTES, bytes, { signal })
    },
    async backUp() {
      const jobId = randomUUID()
      const vmId = vm?.vmId ?? ''
      await agent.order({ type: 'backup-vm', jobId, vmId, repositoryId, mode: 'auto', quiesce: false })
      return await agent.jobEnded(jobId)
    },
    async newest() {
      return (await site.catalogue.transaction(async (tx) => await tx.restorePoints.list({ limit: 1 }), { signal }))[0]
    },
    stored: (restorePointId: string, diskId: string) => storage.points.get(restorePointId)?.disks.get(diskId)?.bytes,
    now: (diskId: string) => site.hypervisor.disk(platformRef, diskId).bytes,
    checkpoints: () => [...site.hypervisor.get(platformRef).disks.values()].map((disk) => disk.checkpoints.size),
    async alerts() {
      return (await agent.events()).flatMap((event) => (event.type === 'alert-raised' ? [event] : []))
    },
  }
}

test('a base that is damaged does not end the protection: the same run reads everything, and says so', async () => {
  const scene = await openScene()
  for (let grain = 0; grain < 8; grain++) await scene.fill('disk0', grain, 1 + grain)
  await scene.fill('disk1', 0, 50)
  await scene.backUp()
  const parent = await scene.newest()
  const parentId = parent?.restorePointId ?? ''
  const damaged = scene.stored(parentId, 'disk0')
  if (damaged === undefined) throw new Error('no such disk')
  damaged[3 * GRAIN_BYTES] = 99

  await scene.fill('disk0', 1, 100)
  const job = await scene.backUp()
  expect(job).toMatchObject({ state: 'succeeded', attempt: 1, result: { readBytes: 9 * GRAIN_BYTES } })
  const point = await scene.newest()
  expect(point).not.toHaveProperty('parentRestorePointId')
  expect(point?.disks.map((disk) => `${disk.mode} ${disk.reason}`)).toEqual([
    'full FULL_PARENT_DAMAGED',
    'full FULL_PARENT_DAMAGED',
  ])
  for (const diskId of ['disk0', 'disk1']) {
    expect(scene.stored(point?.restorePointId ?? '', diskId)).toEqual(scene.now(diskId))
  }
  expect(await scene.alerts()).toMatchObject([
    { severity: 'critical', error: { code: 'repository.chunk_corrupt', details: { restorePointId: parentId } } },
  ])
  const log = await scene.site.catalogue.transaction(async (tx) => await tx.jobs.listLog(job.jobId), { signal })
  expect(log.filter((entry) => entry.level === 'warning').map((entry) => entry.sentence)).toEqual([
    expect.stringContaining('The last restore point is damaged'),
  ])

  await scene.fill('disk0', 2, 101)
  expect((await scene.backUp()).result).toMatchObject({ readBytes: GRAIN_BYTES })
  const next = await scene.newest()
  expect(next?.disks.map((disk) => disk.reason)).toEqual(['INCREMENTAL', 'INCREMENTAL'])
  expect(scene.stored(next?.restorePointId ?? '', 'disk0')).toEqual(scene.now('disk0'))
  expect(scene.checkpoints()).toEqual([1, 1])
  expect(await scene.alerts()).toHaveLength(1)
  await scene.agent.stop()
})

test('a parent that cannot be built on when the writer opens: full as well', async () => {
  let vanish = false
  const scene = await openScene({
    onStep: async (step) => {
      if (vanish && step === 'frozen') scene.site.storage.points.clear()
    },
  })
  await scene.fill('disk0', 0, 1)
  await scene.backUp()
  vanish = true
  await scene.fill('disk0', 1, 2)
  expect((await scene.backUp()).result).toMatchObject({ readBytes: 2 * GRAIN_BYTES })
  expect((await scene.newest())?.disks.map((disk) => disk.reason)).toEqual([
    'FULL_PARENT_DAMAGED',
    'FULL_PARENT_DAMAGED',
  ])
  expect(await scene.alerts()).toMatchObject([{ error: { code: 'repository.base_mismatch' } }])
  await scene.agent.stop()
})
