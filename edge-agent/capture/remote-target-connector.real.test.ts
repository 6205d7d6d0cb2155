import { appendFile, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { KvmSourceConnector } from '../platforms/kvm/kvm-source-connector.ts'
import { KvmTargets } from '../platforms/kvm/kvm-targets.ts'
import { VmMonitors } from '../platforms/kvm/vm-monitors.ts'
import { describeTargetConnector, type TargetFixture } from '../platforms/target-connector.conformance.ts'
import { expectSuccess } from '../qemu/qemu-img.ts'
import { RemoteTargetConnector } from './remote-target-connector.ts'
import type { RemoteVmHostOptions } from './remote-vm-host.ts'
import { TestCaptureHost } from './test-capture-host.ts'

const options = { signal: AbortSignal.timeout(5 * 60_000) }
const MIB = 1024 * 1024

function connect(made: TestCaptureHost, more: Partial<RemoteVmHostOptions> = {}) {
  const host = made.connect(more)
  const monitors = new VmMonitors()
  const target = new RemoteTargetConnector({ host, monitors })
  const source = new KvmSourceConnector({ hosts: () => [host], monitors })
  return { host, source, target, connector: new KvmTargets(() => [{ host, target }]) }
}

async function openFixture(): Promise<TargetFixture> {
  const made = await TestCaptureHost.open({ accelerator: 'tcg' })
  const { kvm } = made
  let side = connect(made)
  return {
    get connector() {
      return side.connector
    },
    get source() {
      return side.source
    },
    read: async (platformRef, diskId) => {
      const { dir, config } = await kvm.host.get(platformRef.split('/')[1] ?? '')
      const file = config.disks.find((disk) => disk.diskId === diskId)?.file ?? ''
      const raw = join(kvm.dir, 'read.raw')
      await expectSuccess(['convert', '-f', 'qcow2', '-O', 'raw', join(dir, file), raw], options)
      return await readFile(raw)
    },
    addForeignVm: async (name) => {
      const { config } = await kvm.addVm(name, [{ diskId: 'disk0', sizeBytes: MIB }])
      return `${side.host.hostId}/${config.vmId}`
    },
    crash: async () => {
      const dead = side
      side = connect(made)
      await dead.host[Symbol.asyncDispose]()
    },
    leftovers: async () => (await readdir(kvm.host.rootDir)).filter((name) => name.startsWith('.')).length,
    [Symbol.asyncDispose]: async () => await made[Symbol.asyncDispose](),
  }
}

describeTargetConnector('kvm behind a capture agent', openFixture)

function newVm(disks = ['disk0']) {
  return {
    creationId: crypto.randomUUID(),
    name: 'made',
    definition: {},
    memoryBytes: 32 * MIB,
    cpuCount: 1,
    disks: disks.map((diskId) => ({ diskId, sizeBytes: MIB })),
  }
}

test('a VM in the making outlives a cut of its tunnel, and is finished', async () => {
  await using made = await TestCaptureHost.open()
  const { target, source, host } = connect(made)
  await using vm = await target.createVm(newVm(), options)
  made.tunnel.cut()
  made.tunnel.mend()
  await expect.poll(() => host.isReachable).toBe(true)
  const sink = vm.disks.get('disk0')
  await sink?.write(0, new Uint8Array(4096).fill(7), options)
  await sink?.flush(options)
  const platformRef = await vm.finish(options)
  expect(await source.getVm(platformRef, options)).toMatchObject({ name: 'made', hostName: 'kvm1' })
})

test('a capture agent that ends in the middle leaves nothing of it, and the edge agent is told', async () => {
  await using made = await TestCaptureHost.open()
  const { target, source } = connect(made)
  await using vm = await target.createVm(newVm(), options)
  await made.stopAgent()
  await made.startAgent()
  await expect(vm.finish(options)).rejects.toMatchObject({ code: 'target.create_failed' })
  expect(await readdir(made.kvm.host.rootDir)).toEqual([])
  expect(await Array.fromAsync(source.listVms(options))).toEqual([])
})

test('an edge agent that does not come back: what it was making is removed', async () => {
  await using made = await TestCaptureHost.open({ orphans: { orphanedAfterMs: 300, checkEveryMs: 50 } })
  const { target } = connect(made)
  await target.createVm(newVm(), options)
  expect(await readdir(made.kvm.host.rootDir)).toHaveLength(1)
  made.tunnel.cut()
  await expect.poll(async () => await readdir(made.kvm.host.rootDir), { timeout: 20_000 }).toEqual([])
})

test('a guest is started over there, and its console is heard here', async () => {
  await using made = await TestCaptureHost.open({ accelerator: 'tcg' })
  const { target, source } = connect(made)
  await using vm = await target.createVm(newVm(), options)
  const platformRef = await vm.finish(options)
  const lines: string[] = []
  const starting = target.startVm(platformRef, { ...options, timeoutMs: 6000, onConsole: (line) => lines.push(line) })
  starting.catch(() => {})
  const there = await made.kvm.host.findByName('made')
  await expect.poll(async () => (await made.kvm.local.listVms(options)).map(({ running }) => running)).toEqual([true])
  // In the guest's place, which writes no word with an empty disk; again and again, since QEMU empties the log first.
  const speaking = setInterval(() => void appendFile(there?.consoleLog ?? '', 'first\nlast\n').catch(() => {}), 100)
  try {
    await expect(starting).rejects.toMatchObject({ code: 'target.boot_failed', details: { lastLine: 'last' } })
  } finally {
    clearInterval(speaking)
  }
  expect(new Set(lines)).toEqual(new Set(['last']))
  expect(await source.getVm(platformRef, options)).toMatchObject({ powerState: 'running' })
  await target.stopVm(platformRef, options)
  expect(await source.getVm(platformRef, options)).toMatchObject({ powerState: 'stopped' })
})

function place(hostId?: string) {
  const host = { name: hostId ?? 'here', ...(hostId === undefined ? {} : { hostId }) }
  return { host, target: { at: hostId } as unknown as RemoteTargetConnector }
}

test('a VM goes back to the host it came from, or to the first one where that is gone', async () => {
  const places = [place(), place('a'), place('b')]
  const targets = new KvmTargets(() => places)
  expect(targets.near('b/vm')).toBe(places[2]?.target)
  expect(targets.near('vm')).toBe(places[0]?.target)
  expect(targets.near('gone/vm')).toBe(places[0]?.target)
  expect(() => new KvmTargets(() => []).near('vm')).toThrow(/no KVM host/)
})
