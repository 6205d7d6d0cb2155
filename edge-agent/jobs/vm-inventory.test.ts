import { randomUUID } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { expect, test } from 'vitest'
import { createMemoryCatalogue } from '../catalog/memory/memory-catalogue.ts'
import { MemoryHypervisor, type NewMemoryVm } from '../platforms/memory/memory-hypervisor.ts'
import { MemorySourceConnector } from '../platforms/memory/memory-source-connector.ts'
import type { SourceConnector, SourcePart } from '../platforms/source-connector.ts'
import { PlatformRegistry } from './platform-registry.ts'
import { RepositoryRegistry } from './repository-registry.ts'
import { VmInventory } from './vm-inventory.ts'

const signal = AbortSignal.timeout(30_000)
const logger = createLogger('test', 'silent')
const sizeBytes = 65_536
const good: NewMemoryVm = { name: 'web-1', disks: [{ diskId: 'disk0', sizeBytes }] }

function openScene(source?: SourceConnector) {
  const hypervisor = new MemoryHypervisor()
  const catalogue = createMemoryCatalogue()
  const inventory = new VmInventory({
    catalogue,
    platforms: new PlatformRegistry([{ kind: 'kvm', source: source ?? new MemorySourceConnector(hypervisor) }]),
    repositories: new RepositoryRegistry([], { clock: systemClock, logger }),
    clock: systemClock,
    logger,
    newId: randomUUID,
    hostname: 'host',
    agentVersion: '0.1.0',
  })
  const events = async () => {
    const list = await catalogue.transaction(async (tx) => await tx.outbox.list({ after: 0, limit: 1000 }), { signal })
    return list.map(({ event }) => event)
  }
  return {
    hypervisor,
    catalogue,
    refresh: async () => await inventory.refresh({ signal, force: true }),
    names: async () => {
      const last = (await events()).findLast((event) => event.type === 'inventory-reported')
      return last?.inventory.vms.map(({ name }) => name)
    },
    alerts: async () => (await events()).flatMap((event) => (event.type === 'alert-raised' ? [event.error] : [])),
  }
}

test.each<[string, NewMemoryVm]>([
  ['a disk id with other characters', { name: 'bad', disks: [{ diskId: 'my disk', sizeBytes }] }],
  ['a disk id that is too long', { name: 'bad', disks: [{ diskId: 'd'.repeat(65), sizeBytes }] }],
  ['a name that is too long', { name: `bad${'x'.repeat(300)}`, disks: [] }],
  ['a number that is none of bytes', { name: 'bad', disks: [], memoryBytes: 0.5 }],
])('%s: that VM is left out and named in one alert, all others are reported', async (_what, bad) => {
  const scene = openScene()
  scene.hypervisor.addVm(good)
  const platformRef = scene.hypervisor.addVm(bad)
  scene.hypervisor.addVm({ ...good, name: 'web-2' })
  await scene.refresh()
  await scene.refresh()
  expect(await scene.names()).toEqual(['web-1', 'web-2'])
  expect(await scene.alerts()).toMatchObject([
    { code: 'source.vm_unfit', message: expect.stringContaining('VM bad'), details: { platformRef } },
  ])
})

test('a VM that was fit before stays as it was known, and is told of again when it becomes unfit again', async () => {
  const scene = openScene()
  const platformRef = scene.hypervisor.addVm(good)
  const vm = scene.hypervisor.get(platformRef)
  await scene.refresh()
  for (let turn = 0; turn < 2; turn++) {
    scene.hypervisor.adopt({ ...vm, description: { ...good, name: 'n'.repeat(256) } })
    await scene.refresh()
    expect(await scene.names()).toEqual(['web-1'])
    scene.hypervisor.adopt(vm)
    await scene.refresh()
  }
  expect(await scene.alerts()).toHaveLength(2)
})

test('hundreds of unfit VMs are told of a few at a time, each once', async () => {
  const scene = openScene()
  for (let count = 0; count < 45; count++) scene.hypervisor.addVm({ name: 'bad', disks: [{ diskId: '', sizeBytes }] })
  const counts: number[] = []
  for (let turn = 0; turn < 4; turn++) {
    await scene.refresh()
    counts.push((await scene.alerts()).length)
  }
  expect(counts).toEqual([20, 40, 45, 45])
})

test('what another version remembered and cannot be reported does not hold up the rest', async () => {
  const scene = openScene()
  scene.hypervisor.addVm(good)
  await scene.refresh()
  await scene.catalogue.transaction(
    async (tx) => {
      const [known] = await tx.vms.list()
      if (known === undefined) throw new Error('no VM')
      const old = { ...known, vmId: randomUUID(), platform: 'vmware', name: 'old' } as const
      await tx.vms.put({ ...old, disks: [{ diskId: 'a/b', sizeBytes, changeTracking: true }] })
    },
    { signal },
  )
  await scene.refresh()
  expect(await scene.names()).toEqual(['web-1'])
})

test('a host that does not answer hides no other host, and its VMs stay as they were known until it is gone', async () => {
  const hosts = ['a', 'b'].map((name) => {
    const hypervisor = new MemoryHypervisor()
    const platformRef = hypervisor.addVm({ ...good, name: `vm-${name}` })
    return { name, hypervisor, platformRef, connector: new MemorySourceConnector(hypervisor), away: false }
  })
  let present = hosts
  const parts = () =>
    present.map((host): SourcePart => ({
      name: host.name,
      owns: (platformRef) => platformRef === host.platformRef,
      async *listVms(options) {
        if (host.away) throw new PlatformError('source.unreachable', 'away')
        yield* host.connector.listVms(options)
      },
    }))
  const scene = openScene(Object.assign(new MemorySourceConnector(new MemoryHypervisor()), { parts }))
  const [first, second] = hosts
  if (first === undefined || second === undefined) throw new Error('two hosts')
  await scene.refresh()
  expect(await scene.names()).toEqual(['vm-a', 'vm-b'])
  first.away = true
  second.hypervisor.addVm({ ...good, name: 'vm-c' })
  await scene.refresh()
  expect(await scene.names()).toEqual(['vm-a', 'vm-b', 'vm-c'])
  present = [second]
  await scene.refresh()
  expect(await scene.names()).toEqual(['vm-b', 'vm-c'])
})
