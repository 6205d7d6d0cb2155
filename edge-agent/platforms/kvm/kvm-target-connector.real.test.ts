import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { expectSuccess } from '../../qemu/qemu-img.ts'
import { describeTargetConnector, type TargetFixture } from '../target-connector.conformance.ts'
import { KvmTargetConnector } from './kvm-target-connector.ts'
import { KvmTestHost } from './kvm-test-host.ts'

const options = { signal: AbortSignal.timeout(10 * 60_000) }
const MIB = 1024 * 1024

async function openFixture(): Promise<TargetFixture> {
  const host = await KvmTestHost.open()
  let connector = new KvmTargetConnector({ host: host.host, monitors: host.monitors, accelerator: 'tcg' })
  return {
    get connector() {
      return connector
    },
    source: host.connect(),
    read: async (platformRef, diskId) => {
      const { dir, config } = await host.host.get(platformRef)
      const file = config.disks.find((disk) => disk.diskId === diskId)?.file ?? ''
      const raw = join(host.dir, 'read.raw')
      await expectSuccess(['convert', '-f', 'qcow2', '-O', 'raw', join(dir, file), raw], options)
      return await readFile(raw)
    },
    addForeignVm: async (name) => (await host.addVm(name, [{ diskId: 'disk0', sizeBytes: MIB }])).config.vmId,
    crash: async () => {
      connector = new KvmTargetConnector({ host: host.host, monitors: host.monitors, accelerator: 'tcg' })
    },
    leftovers: async () => (await readdir(host.host.rootDir)).filter((name) => name.startsWith('.')).length,
    [Symbol.asyncDispose]: async () => await host[Symbol.asyncDispose](),
  }
}

describeTargetConnector('kvm', openFixture)

test('a guest that does not come up is target.boot_failed, and is left running', async () => {
  await using host = await KvmTestHost.open()
  const vm = await host.addVm('empty', [{ diskId: 'disk0', sizeBytes: MIB }])
  const target = new KvmTargetConnector({ host: host.host, monitors: host.monitors, accelerator: 'tcg' })
  const starting = target.startVm(vm.config.vmId, { ...options, timeoutMs: 1500 })
  await expect(starting).rejects.toMatchObject({ code: 'target.boot_failed', details: { platformRef: vm.config.vmId } })
  const source = host.connect()
  expect(await source.getVm(vm.config.vmId, options)).toMatchObject({ powerState: 'running' })
  await target.stopVm(vm.config.vmId, options)
  expect(await source.getVm(vm.config.vmId, options)).toMatchObject({ powerState: 'stopped' })
})

test('what no plain-QEMU host can be is refused before anything is made', async () => {
  await using host = await KvmTestHost.open()
  const target = new KvmTargetConnector({ host: host.host, monitors: host.monitors })
  const good = { creationId: crypto.randomUUID(), name: 'vm', definition: {}, memoryBytes: 32 * MIB, cpuCount: 1 }
  const disk = { diskId: 'disk0', sizeBytes: MIB }
  const bad = [
    { ...good, name: '../outside', disks: [disk] },
    { ...good, disks: [{ ...disk, sizeBytes: 1000 }] },
    { ...good, disks: [{ ...disk, diskId: 'sendense-x' }] },
    { ...good, disks: [] },
  ]
  for (const request of bad) {
    await expect(target.createVm(request, options)).rejects.toMatchObject({ code: 'input.invalid' })
  }
  expect(await readdir(host.host.rootDir)).toEqual([])
})
