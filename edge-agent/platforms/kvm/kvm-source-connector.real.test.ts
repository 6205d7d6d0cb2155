import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import process from 'node:process'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { describeSourceConnector, type SourceFixture } from '../source-connector.conformance.ts'
import type { BackupRequest, SourceBackupSession, TrackingToken } from '../source-connector.ts'
import { backendOf, KvmTestHost } from './kvm-test-host.ts'
import { findVmProcess, stopVmProcess } from './vm-process.ts'

const options = { signal: AbortSignal.timeout(10 * 60_000) }
const MIB = 1024 * 1024
const disks = ['disk0', 'disk1'].map((diskId) => ({ diskId, sizeBytes: 8 * MIB }))
const none: ReadonlyMap<string, TrackingToken> = new Map()

async function openFixture(): Promise<SourceFixture> {
  const host = await KvmTestHost.open()
  const vm = await host.addVm('guest', disks)
  await host.start(vm)
  let connector = host.connect()
  return {
    get connector() {
      return connector
    },
    platformRef: vm.config.vmId,
    disks,
    fill: async (diskId, extent, byte) => await host.fill(vm, diskId, extent, byte),
    zero: async (diskId, { offsetBytes, lengthBytes }) => {
      await host.guestIo(vm, diskId, `write -z ${offsetBytes} ${lengthBytes}`)
    },
    discard: async (diskId, { offsetBytes, lengthBytes }) => {
      await host.guestIo(vm, diskId, `discard ${offsetBytes} ${lengthBytes}`)
    },
    checkpoints: async (diskId) => await host.bitmaps(vm, diskId),
    addForeignCheckpoint: async (node, name) => {
      await host.qmp(vm, 'block-dirty-bitmap-add', { node, name, persistent: true }, z.unknown())
    },
    crash: async () => {
      await host.cutMonitors()
      connector = host.connect()
    },
    [Symbol.asyncDispose]: async () => await host[Symbol.asyncDispose](),
  }
}

describeSourceConnector('kvm', openFixture)

/** Makes a VM whose first MiB is written and backed up. */
async function backUpOnce(host: KvmTestHost) {
  const vm = await host.addVm('guest', disks)
  await host.start(vm)
  const connector = host.connect()
  const ask = (base: ReadonlyMap<string, TrackingToken>): BackupRequest => {
    return { platformRef: vm.config.vmId, sessionId: randomUUID(), quiesce: true, base, full: false }
  }
  await host.guestIo(vm, 'disk0', 'write -P 1 0 1M')
  const base = await commit(await connector.openBackup(ask(none), options))
  return { vm, connector, ask, base }
}

async function commit(session: SourceBackupSession): Promise<ReadonlyMap<string, TrackingToken>> {
  await session.commit(options)
  await session[Symbol.asyncDispose]()
  return new Map(session.disks.flatMap(({ token }) => (token === undefined ? [] : [[token.diskId, token]])))
}

test('a VM stopped and started again goes on with increments: its bitmaps are kept', async () => {
  await using host = await KvmTestHost.open()
  const { vm, connector, ask, base } = await backUpOnce(host)
  await host.guestIo(vm, 'disk0', 'write -P 2 64k 64k')
  await stopVmProcess(vm, options)
  const stopped = await connector.getVm(vm.config.vmId, options)
  expect(stopped).toMatchObject({
    powerState: 'stopped',
    disks: disks.map((disk) => ({ ...disk, changeTracking: true })),
  })
  await expect(connector.openBackup(ask(base), options)).rejects.toMatchObject({ code: 'source.vm_not_running' })
  await host.start(vm)
  await host.guestIo(vm, 'disk0', 'write -P 3 512k 64k')
  await using session = await connector.openBackup(ask(base), options)
  expect(session.disks.map(({ reason }) => reason)).toEqual(['INCREMENTAL', 'INCREMENTAL'])
  expect(await dirtyBytes(session)).toBe(2 * 64 * 1024)
})

test('a QEMU that was killed has lost track: the next backup compares, the one after is incremental', async () => {
  await using host = await KvmTestHost.open()
  const { vm, connector, ask, base } = await backUpOnce(host)
  // A clean stop stores the bitmaps; the kill after it leaves them marked as in use.
  await stopVmProcess(vm, options)
  await host.start(vm)
  process.kill(await expectPid(vm), 'SIGKILL')
  while ((await findVmProcess(vm)) !== undefined) await new Promise((resolve) => setTimeout(resolve, 10))
  await host.start(vm)
  await connector.reconcile(vm.config.vmId, [...base.values()], options)
  const session = await connector.openBackup(ask(base), options)
  expect(session.disks.map(({ reason }) => reason)).toEqual(['COMPARE_TRACKING_LOST', 'COMPARE_TRACKING_LOST'])
  const first = new Uint8Array(MIB)
  await session.disks[0]?.source.read(0, first, options)
  expect(first.every((byte) => byte === 1)).toBe(true)
  const next = await commit(session)
  expect(await host.bitmaps(vm, 'disk0')).toEqual([next.get('disk0')?.checkpoint])
  await host.guestIo(vm, 'disk0', 'write -P 4 1M 64k')
  await using incremental = await connector.openBackup(ask(next), options)
  expect(incremental.disks.map(({ reason }) => reason)).toEqual(['INCREMENTAL', 'INCREMENTAL'])
  expect(await dirtyBytes(incremental)).toBe(64 * 1024)
})

test('a QEMU that dies during a backup makes the session lost, and nothing stays on its disk', async () => {
  await using host = await KvmTestHost.open()
  const { vm, connector, ask, base } = await backUpOnce(host)
  const session = await connector.openBackup(ask(base), options)
  const lost = new Promise((resolve) => session.lost.addEventListener('abort', resolve))
  process.kill(await expectPid(vm), 'SIGKILL')
  await lost
  expect(session.lost.reason).toMatchObject({ code: 'source.unreachable' })
  while ((await findVmProcess(vm)) !== undefined) await new Promise((resolve) => setTimeout(resolve, 10))
  await session[Symbol.asyncDispose]()
  expect((await readdir(vm.dir)).filter((file) => file.startsWith('sendense-'))).toEqual([])
  await host.start(vm)
  await using next = await connector.openBackup(ask(base), options)
  expect(next.disks.map(({ mode }) => mode)).toEqual(['compare', 'compare'])
})

test('a listing clears what a dead session left, and touches no open one', async () => {
  await using host = await KvmTestHost.open()
  const { vm, connector, ask, base } = await backUpOnce(host)
  const leftOvers = async () => (await readdir(vm.dir)).filter((file) => file.startsWith('sendense-')).length
  const session = await connector.openBackup(ask(base), options)
  await Array.fromAsync(connector.listVms(options))
  expect(session.lost.aborted).toBe(false)
  expect(await leftOvers()).toBe(disks.length)
  await host.cutMonitors()
  await using next = host.connect()
  expect(await Array.fromAsync(next.listVms(options))).toHaveLength(1)
  await using again = await next.openBackup(ask(base), options)
  expect(again.disks.map(({ reason }) => reason)).toEqual(['INCREMENTAL', 'INCREMENTAL'])
  expect(await leftOvers()).toBe(disks.length)
})

test('a job that ends right after the instant makes the session lost', async () => {
  await using host = await KvmTestHost.open()
  const { vm, ask, base } = await backUpOnce(host)
  const request = ask(base)
  const device = `sendense-${request.sessionId}-disk0`
  let cancelled: Promise<unknown> | undefined
  const now = () => {
    cancelled = host.qmp(vm, 'block-job-cancel', { device, force: true }, z.unknown())
    return new Date()
  }
  const clock = { ...systemClock, now }
  const connector = host.connect({ clock })
  await using session = await connector.openBackup(request, options)
  await cancelled
  if (!session.lost.aborted) await once(session.lost, 'abort', options)
  expect(session.lost.reason).toMatchObject({ code: 'source.snapshot_failed' })
})

test('a VM that is stopped during a backup loses the backup, not its tracking', async () => {
  await using host = await KvmTestHost.open()
  const { vm, connector, ask, base } = await backUpOnce(host)
  await host.guestIo(vm, 'disk0', 'write -P 2 64k 64k')
  const session = await connector.openBackup(ask(base), options)
  const lost = new Promise((resolve) => session.lost.addEventListener('abort', resolve))
  await host.guestIo(vm, 'disk0', 'write -P 3 512k 64k')
  await stopVmProcess(vm, options)
  await lost
  await session[Symbol.asyncDispose]()
  expect((await readdir(vm.dir)).filter((file) => file.startsWith('sendense-'))).toEqual([])
  await host.start(vm)
  await connector.reconcile(vm.config.vmId, [...base.values()], options)
  expect(await host.bitmaps(vm, 'disk0')).toEqual([base.get('disk0')?.checkpoint])
  await using next = await connector.openBackup(ask(base), options)
  expect(next.disks.map(({ reason }) => reason)).toEqual(['INCREMENTAL', 'INCREMENTAL'])
  expect(await dirtyBytes(next)).toBe(2 * 64 * 1024)
})

test('a guest that overwrites too much during its backup loses the backup, not its writes', async () => {
  await using host = await KvmTestHost.open()
  const { vm, ask, base } = await backUpOnce(host)
  const fleecing = { minFreeBytes: 0, maxBytes: 2 * MIB }
  const connector = host.connect({ fleecing })
  await host.guestIo(vm, 'disk0', 'write -P 5 0 8M')
  const full = await commit(await connector.openBackup(ask(base), options))
  await using session = await connector.openBackup(ask(full), options)
  const lost = new Promise((resolve) => session.lost.addEventListener('abort', resolve))
  await host.guestIo(vm, 'disk0', 'write -P 6 0 6M')
  await lost
  expect(session.lost.reason).toMatchObject({ code: 'source.fleecing_space' })
  await session[Symbol.asyncDispose]()
  expect(await host.bitmaps(vm, 'disk0')).toEqual([full.get('disk0')?.checkpoint])
  await using next = await connector.openBackup(ask(full), options)
  const content = new Uint8Array(8 * MIB)
  await next.disks[0]?.source.read(0, content, options)
  expect(content.subarray(0, 6 * MIB).every((byte) => byte === 6)).toBe(true)
  expect(await dirtyBytes(next)).toBe(6 * MIB)
})

test('a session that is lost between seal and commit can still be committed', async () => {
  await using host = await KvmTestHost.open()
  const { vm, ask, base } = await backUpOnce(host)
  const fleecing = { minFreeBytes: 0, maxBytes: 2 * MIB }
  const connector = host.connect({ fleecing })
  await host.guestIo(vm, 'disk0', 'write -P 5 0 8M')
  const session = await connector.openBackup(ask(base), options)
  const lost = new Promise((resolve) => session.lost.addEventListener('abort', resolve))
  await host.guestIo(vm, 'disk0', 'write -P 6 0 6M')
  await lost
  const sealed = await commit(session)
  await using next = await connector.openBackup(ask(sealed), options)
  expect(next.disks.map(({ reason }) => reason)).toEqual(['INCREMENTAL', 'INCREMENTAL'])
  expect(await dirtyBytes(next)).toBe(6 * MIB)
})

test('a backup does not begin where there is no room for what the guest overwrites', async () => {
  await using host = await KvmTestHost.open()
  const { ask, base } = await backUpOnce(host)
  const fleecing = { minFreeBytes: Number.MAX_SAFE_INTEGER }
  const connector = host.connect({ fleecing })
  await expect(connector.openBackup(ask(base), options)).rejects.toMatchObject({ code: 'source.fleecing_space' })
})

test('a raw disk has no bitmap: it is read in full, and compared where its base is known', async () => {
  await using host = await KvmTestHost.open()
  const sizeBytes = 2 * MIB
  const vm = await host.addVm('raw', [{ diskId: 'disk0', sizeBytes, raw: true }])
  await host.start(vm)
  const connector = host.connect()
  const known = new Map([['disk0', { diskId: 'disk0', sizeBytes, checkpoint: '', granularityBytes: 0 }]])
  for (const [base, reason, byte] of [
    [none, 'FULL_FIRST', 1],
    [known, 'COMPARE_NO_TRACKING', 2],
  ] as const) {
    await host.fill(vm, 'disk0', { offsetBytes: 0, lengthBytes: MIB }, byte)
    const request = { platformRef: vm.config.vmId, sessionId: randomUUID(), quiesce: true, base, full: false }
    await using session = await connector.openBackup(request, options)
    await host.fill(vm, 'disk0', { offsetBytes: 0, lengthBytes: MIB }, 9)
    const content = new Uint8Array(sizeBytes)
    await session.disks[0]?.source.read(0, content, options)
    expect(content.filter((value) => value === byte)).toHaveLength(MIB)
    expect(session.disks.map((disk) => [disk.reason, disk.token])).toEqual([[reason, undefined]])
    await session.commit(options)
  }
  expect(await connector.getVm(vm.config.vmId, options)).toMatchObject({
    disks: [{ sizeBytes, changeTracking: false }],
  })
})

test('writes that are on their way at the instant are dirty where they are in its content', async () => {
  await using host = await KvmTestHost.open()
  const { vm, connector, ask, base } = await backUpOnce(host)
  // One write a second from the device; QEMU lets them all go when a disk is drained, which is in the transaction.
  const slow = { bps: 0, bps_rd: 0, bps_wr: 0, iops: 0, iops_rd: 0, iops_wr: 1 }
  await host.qmp(vm, 'block_set_io_throttle', { id: backendOf('disk0'), ...slow }, z.unknown())
  for (let unit = 0; unit < 8; unit++) await host.guestIo(vm, 'disk0', `aio_write -P 7 ${unit * 128}k 64k`)
  const Count = z.object({ 'node-name': z.string(), 'dirty-bitmaps': z.array(z.object({ count: z.int() })).optional() })
  const nodes = await host.qmp(vm, 'query-named-block-nodes', { flat: true }, z.array(Count))
  const arrived = nodes.find((node) => node['node-name'] === 'disk0')?.['dirty-bitmaps']?.[0]?.count
  expect(arrived).toBeLessThan(8 * 64 * 1024)
  await using session = await connector.openBackup(ask(base), options)
  const source = session.disks[0]?.source
  const content = new Uint8Array(MIB)
  await source?.read(0, content, options)
  expect(content.filter((byte) => byte === 7)).toHaveLength(8 * 64 * 1024)
  expect(await dirtyBytes(session)).toBe(8 * 64 * 1024)
})

async function dirtyBytes(session: SourceBackupSession): Promise<number> {
  let sum = 0
  for (const { source } of session.disks) {
    const all = { offsetBytes: 0, lengthBytes: source.sizeBytes }
    for await (const extent of source.extents(all, options)) if (extent.dirty) sum += extent.lengthBytes
  }
  return sum
}

async function expectPid(vm: Parameters<typeof findVmProcess>[0]): Promise<number> {
  const pid = await findVmProcess(vm)
  expect(pid).toBeDefined()
  return pid ?? 0
}
