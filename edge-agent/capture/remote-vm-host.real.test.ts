import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { z } from 'zod'
import { KvmSourceConnector } from '../platforms/kvm/kvm-source-connector.ts'
import { describeVmHost, type VmHostFixture } from '../platforms/kvm/vm-host.conformance.ts'
import { VmMonitors } from '../platforms/kvm/vm-monitors.ts'
import { describeSourceConnector, type SourceFixture } from '../platforms/source-connector.conformance.ts'
import { TestGuestAgent } from '../qemu/test-guest-agent.ts'
import { TestCaptureHost } from './test-capture-host.ts'

const options = { signal: AbortSignal.timeout(5 * 60_000) }
const MIB = 1024 * 1024

async function openHostFixture(): Promise<VmHostFixture> {
  await using undo = new AsyncDisposableStack()
  const made = undo.use(await TestCaptureHost.open())
  const disks = [{ diskId: 'disk0', sizeBytes: MIB }]
  const running = await made.kvm.addVm('running', disks)
  await made.kvm.start(running)
  const stopped = await made.kvm.addVm('stopped', disks)
  await mkdir(stopped.runtimeDir, { recursive: true })
  const agent = undo.use(await TestGuestAgent.open(stopped.guestAgentSocket))
  const kept = undo.move()
  return {
    host: made.connect(),
    runningVmId: running.config.vmId,
    stoppedVmId: stopped.config.vmId,
    sizeBytes: MIB,
    agent,
    breakDisk: async () => await writeFile(join(stopped.dir, 'disk0.qcow2'), 'no image'),
    [Symbol.asyncDispose]: async () => await kept.disposeAsync(),
  }
}

describeVmHost('behind a capture agent', openHostFixture)

async function openSourceFixture(): Promise<SourceFixture> {
  const made = await TestCaptureHost.open()
  const { kvm } = made
  const disks = ['disk0', 'disk1'].map((diskId) => ({ diskId, sizeBytes: 8 * MIB }))
  const vm = await kvm.addVm('guest', disks)
  await kvm.start(vm)
  const open = () => {
    const host = made.connect()
    const monitors = new VmMonitors()
    return { host, monitors, connector: new KvmSourceConnector({ hosts: () => [host], monitors }) }
  }
  let side = open()
  const located = () => ({ host: side.host, config: vm.config })
  const qmp = async (command: string, args: object) => {
    await using lease = await side.monitors.acquire(located(), options)
    return await lease.qmp.execute(command, args, z.unknown(), options)
  }
  const io = async (diskId: string, command: string) => {
    const line = `qemu-io -d /machine/peripheral/${diskId}-device/virtio-backend "${command}"`
    expect(await qmp('human-monitor-command', { 'command-line': line })).toBe('')
  }
  const Nodes = z.array(
    z.object({ 'node-name': z.string(), 'dirty-bitmaps': z.array(z.object({ name: z.string() })).default([]) }),
  )
  return {
    get connector() {
      return side.connector
    },
    platformRef: `${side.host.hostId}/${vm.config.vmId}`,
    disks,
    fill: async (diskId, { offsetBytes, lengthBytes }, byte) => {
      await io(diskId, `write -P ${byte} ${offsetBytes} ${lengthBytes}`)
    },
    zero: async (diskId, { offsetBytes, lengthBytes }) => await io(diskId, `write -z ${offsetBytes} ${lengthBytes}`),
    discard: async (diskId, { offsetBytes, lengthBytes }) => await io(diskId, `discard ${offsetBytes} ${lengthBytes}`),
    checkpoints: async (diskId) => {
      const nodes = Nodes.parse(await qmp('query-named-block-nodes', { flat: true }))
      const node = nodes.find((candidate) => candidate['node-name'] === diskId)
      return node?.['dirty-bitmaps'].map(({ name }) => name) ?? []
    },
    addForeignCheckpoint: async (node, name) => {
      await qmp('block-dirty-bitmap-add', { node, name, persistent: true })
    },
    crash: async () => {
      const dead = side
      side = open()
      // Its sockets are closed by its end, and no more.
      await dead.host[Symbol.asyncDispose]()
      await dead.monitors[Symbol.asyncDispose]()
    },
    [Symbol.asyncDispose]: async () => {
      await side.monitors[Symbol.asyncDispose]()
      await made[Symbol.asyncDispose]()
    },
  }
}

describeSourceConnector('kvm behind a capture agent', openSourceFixture)
