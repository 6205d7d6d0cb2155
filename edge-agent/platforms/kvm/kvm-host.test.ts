import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { vmCommandLine } from './command-line.ts'
import { KvmHost } from './kvm-host.ts'
import { readVmConfig, type VmConfig, writeVmConfig } from './vm-config.ts'

async function openHost() {
  const dir = await mkdtemp(join(tmpdir(), 'sd-host-'))
  const host = new KvmHost({ rootDir: join(dir, 'vms'), runtimeDir: join(dir, 'run') })
  await mkdir(host.rootDir)
  return { host, [Symbol.asyncDispose]: async () => await rm(dir, { recursive: true, force: true }) }
}

function newConfig(name: string): VmConfig {
  const disks: VmConfig['disks'] = [{ diskId: 'disk0', file: 'disk0.qcow2', format: 'qcow2' }]
  const machine = { memoryBytes: 64 * 1024 * 1024, cpuCount: 2, disks, firmware: 'bios', network: 'none' } as const
  return { version: 1, vmId: randomUUID(), name, ...machine }
}

async function addVm(host: KvmHost, config: VmConfig) {
  const draft = await host.createDraft(randomUUID())
  await writeVmConfig(draft, config)
  return await host.publishDraft(draft, config)
}

test('a draft is not listed; published it is, and its name is taken', async () => {
  await using opened = await openHost()
  const { host } = opened
  const config = newConfig('web')
  const draft = await host.createDraft(randomUUID())
  await writeVmConfig(draft, config)
  expect(await host.list()).toEqual([])
  expect((await host.drafts()).map(({ name }) => name)).toEqual(['web'])
  await host.publishDraft(draft, config)
  expect((await host.list()).map((vm) => vm.config)).toEqual([config])
  await expect(addVm(host, newConfig('web'))).rejects.toMatchObject({ code: 'target.vm_exists' })
  expect((await host.get(config.vmId)).config).toEqual(config)
})

test('one broken vm.json does not hide the others', async () => {
  await using opened = await openHost()
  const { host } = opened
  await addVm(host, newConfig('web'))
  await mkdir(join(host.rootDir, 'broken'))
  await writeFile(join(host.rootDir, 'broken', 'vm.json'), '{"version":1}')
  expect((await host.list()).map(({ config }) => config.name)).toEqual(['web'])
  expect(await host.names()).toEqual(['broken', 'web'])
  await expect(readVmConfig(join(host.rootDir, 'broken'))).rejects.toMatchObject({ code: 'source.protocol_violation' })
})

test('a root that is not there is source.unreachable: storage that is not mounted is not an empty host', async () => {
  const host = new KvmHost({ rootDir: join(tmpdir(), randomUUID()), runtimeDir: '/run' })
  await expect(host.list()).rejects.toMatchObject({ code: 'source.unreachable' })
})

test.each(['../disk', '/etc/passwd', 'a,b', ''])('a disk file outside of its VM is refused: %j', async (file) => {
  await using opened = await openHost()
  const config = newConfig('web')
  const bad = { ...config, disks: [{ diskId: 'disk0', file, format: 'qcow2' as const }] }
  await expect(addVm(opened.host, bad)).rejects.toThrow(/file/)
})

test('QEMU gets each disk as an explicit node that keeps zeros and discards as they are', async () => {
  await using opened = await openHost()
  const vm = await addVm(opened.host, newConfig('web'))
  const args = vmCommandLine(vm, { accelerator: 'tcg' })
  const nodes = args.filter((_, index) => args[index - 1] === '-blockdev').map((text): unknown => JSON.parse(text))
  expect(nodes).toEqual([
    {
      'driver': 'qcow2',
      'node-name': 'disk0',
      'discard': 'unmap',
      'detect-zeroes': 'off',
      'file': { driver: 'file', filename: join(vm.dir, 'disk0.qcow2'), discard: 'unmap' },
    },
  ])
  expect(args).toContain(vm.config.vmId)
  expect(args.join(' ')).not.toMatch(/netdev| -S /)
})
