import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { KvmTestHost } from './kvm-test-host.ts'

const options = { signal: AbortSignal.timeout(20_000) }
const disks = [{ diskId: 'disk0', sizeBytes: 65_536, raw: true }]

test('a stopped VM whose disk is missing hides no other VM', async () => {
  await using host = await KvmTestHost.open()
  const broken = await host.addVm('broken', disks)
  const whole = await host.addVm('whole', disks)
  await rm(join(broken.dir, 'disk0.raw'))
  const connector = host.connect()
  const listed = await Array.fromAsync(connector.listVms(options))
  expect(listed.map((vm) => vm.platformRef)).toEqual([whole.config.vmId])
  await expect(connector.getVm(broken.config.vmId, options)).rejects.toMatchObject({ code: 'source.disk_unsupported' })
})

test('a VM that is deleted while VMs are listed ends no listing', async () => {
  await using host = await KvmTestHost.open()
  await host.addVm('first', disks)
  const going = await host.addVm('going', disks)
  await host.addVm('last', disks)
  const connector = host.connect()
  const names: string[] = []
  for await (const vm of connector.listVms(options)) {
    names.push(vm.name)
    await rm(going.dir, { recursive: true, force: true })
  }
  expect(names).toEqual(['first', 'last'])
})
