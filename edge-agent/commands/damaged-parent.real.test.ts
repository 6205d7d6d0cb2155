import { randomBytes, randomUUID } from 'node:crypto'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createMemoryRepositoryStore } from '../repository/memory/memory-repository.ts'
import { pagePath } from '../repository/qcow2-chain/repository-layout.ts'
import { makeTemporaryRepository } from '../repository/qcow2-chain/temporary-repository.ts'
import { restoreAll } from '../repository/repository-scenario.ts'
import type { SealedManifest } from '../repository/restore-point-manifest.ts'
import { createSimulatedAgent, createSimulatedSite } from './simulated-agent.ts'

const SIZE_BYTES = 1024 * 1024
const GRAIN_BYTES = 65_536

const damages: readonly [string, string, (dir: string, sealed: SealedManifest) => Promise<void>][] = [
  ['layer is missing', 'repository.chunk_corrupt', async (dir, sealed) => await rm(join(dir, layerOf(sealed)))],
  [
    'layer has other data',
    'repository.chunk_corrupt',
    async (dir, sealed) => {
      const path = join(dir, layerOf(sealed))
      const bytes = await readFile(path)
      // The last cluster of the file is the guest's data.
      bytes.fill(99, bytes.length - GRAIN_BYTES)
      await writeFile(path, bytes)
    },
  ],
  [
    'page is damaged',
    'repository.manifest_invalid',
    async (dir, sealed) => await writeFile(join(dir, pagePath(sealed.manifest.disks[0]?.pages[0] ?? '')), 'damaged'),
  ],
  [
    'manifest is damaged',
    'repository.manifest_invalid',
    async (dir, sealed) => {
      const folder = join(dir, 'rp', sealed.manifest.vmId)
      for (const name of await readdir(folder)) await writeFile(join(folder, name), '{}')
    },
  ],
]

test.each(damages)('the parent’s %s: the next backup is full, right, and %s is raised', async (_what, code, damage) => {
  const signal = AbortSignal.timeout(60_000)
  await using place = await makeTemporaryRepository({ signal }, { chunkSizeBytes: 4 * GRAIN_BYTES })
  await using repository = await place.open()
  const { repositoryId } = repository
  const site = { ...createSimulatedSite(), storage: createMemoryRepositoryStore({ repositoryId }) }
  const platformRef = site.hypervisor.addVm({ name: 'web-1', disks: [{ diskId: 'disk0', sizeBytes: SIZE_BYTES }] })
  const agent = createSimulatedAgent(site, { openRepository: async () => repository })
  await agent.start()
  const vm = await site.catalogue.transaction(async (tx) => await tx.vms.findByRef('kvm', platformRef), { signal })
  const disk = site.hypervisor.disk(platformRef, 'disk0')
  const backUp = async () => {
    const jobId = randomUUID()
    const vmId = vm?.vmId ?? ''
    await agent.order({ type: 'backup-vm', jobId, vmId, repositoryId, mode: 'auto', quiesce: false })
    const job = await agent.jobEnded(jobId)
    expect(job.error).toBeUndefined()
    return await repository.getRestorePoint(job.result?.kind === 'backup' ? job.result.restorePointId : '', { signal })
  }

  await disk.write(0, randomBytes(4 * GRAIN_BYTES), { signal })
  await damage(place.dir, await backUp())
  await disk.write(GRAIN_BYTES, randomBytes(GRAIN_BYTES), { signal })
  const { manifest } = await backUp()
  expect(manifest.disks.map(({ mode, reason }) => `${mode} ${reason}`)).toEqual(['full FULL_PARENT_DAMAGED'])
  const restored = await restoreAll(repository, manifest.restorePointId, { signal })
  expect(Buffer.compare(restored.get('disk0') ?? Buffer.alloc(0), disk.bytes)).toBe(0)
  const alerts = (await agent.events()).flatMap((event) => (event.type === 'alert-raised' ? [event.error.code] : []))
  expect(alerts).toEqual([code])

  await disk.write(2 * GRAIN_BYTES, randomBytes(GRAIN_BYTES), { signal })
  const next = await backUp()
  expect(next.manifest.disks.map(({ reason }) => reason)).toEqual(['INCREMENTAL'])
  expect(
    Buffer.compare(
      (await restoreAll(repository, next.manifest.restorePointId, { signal })).get('disk0') ?? Buffer.alloc(0),
      disk.bytes,
    ),
  ).toBe(0)
  await agent.stop()
})

function layerOf(sealed: SealedManifest): string {
  return sealed.manifest.disks[0]?.layers?.[0] ?? ''
}
