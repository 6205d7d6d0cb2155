import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { type GuestIoCounters, LatencyGuard } from '../../mover/latency-guard.ts'
import { backendOf, KvmTestHost } from './kvm-test-host.ts'

const MIB = 1024 * 1024
const call = { signal: AbortSignal.timeout(110_000) }
/** Far above what QEMU needs for a block in the page cache, far below what the throttled disk makes of it. */
const settings = { latencyFloorMs: 150, baselineFactor: 3, rateFloorBytesPerSecond: 4 * MIB, hangLimitMs: 2500 }
const OPERATIONS = 8

test('a copy gives way while the guest’s disk is slow, and recovers when it is not', async () => {
  await using host = await KvmTestHost.open()
  const vm = await host.addVm('busy', [{ diskId: 'disk0', sizeBytes: 64 * MIB }])
  await host.start(vm)
  const connector = host.connect()
  const request = {
    platformRef: (await firstRef(connector)) ?? '',
    sessionId: randomUUID(),
    quiesce: false,
    full: false,
  }
  await using session = await connector.openBackup({ ...request, base: new Map() }, call)
  const read = session.guestIo
  if (read === undefined) throw new Error('KVM tells of its guests')
  let copyBytesPerSecond = 160 * MIB
  const guard = new LatencyGuard({ read, copyBytesPerSecond: () => copyBytesPerSecond, settings }, await read(call))

  /** The guest does some operations at once; resolves with the rate when they are over and the guard has looked. */
  const work = async (): Promise<number | undefined> => {
    const before = await read(call)
    for (let index = 0; index < OPERATIONS; index += 1) {
      await host.guestIo(vm, 'disk0', `aio_write -P 7 ${index * 128}k 64k`)
    }
    await untilDone(read, before.operations + OPERATIONS)
    await guard.look(call)
    copyBytesPerSecond = guard.throttle.bytesPerSecond ?? copyBytesPerSecond
    return guard.throttle.bytesPerSecond
  }
  /** Operations a second that the disk does; 0: as many as it can. */
  const limit = async (iops: number): Promise<void> => {
    const none = { bps: 0, bps_rd: 0, bps_wr: 0, iops_rd: 0, iops_wr: 0 }
    await host.qmp(vm, 'block_set_io_throttle', { id: backendOf('disk0'), ...none, iops }, z.unknown())
  }

  expect(await work()).toBeUndefined()
  await limit(4)
  const first = await work()
  const second = await work()
  expect([first, second]).toEqual([80 * MIB, 40 * MIB])
  expect(guard.report).toMatchObject({ isSlowed: true, slowedCount: 1, lowestBytesPerSecond: 40 * MIB })
  expect(guard.report.worstLatencyMs).toBeGreaterThan(settings.latencyFloorMs)
  await limit(0)
  expect(await work()).toBe(50 * MIB)
  for (let look = 0; look < 11; look += 1) await work()
  expect(guard.throttle.bytesPerSecond).toBeUndefined()
})

test('a request of the guest that hangs is seen, slows the copy down, and in the end gives it up', async () => {
  await using host = await KvmTestHost.open()
  const vm = await host.addVm('hung', [{ diskId: 'disk0', sizeBytes: 64 * MIB }])
  await host.start(vm)
  const connector = host.connect()
  const platformRef = (await firstRef(connector)) ?? ''
  const request = { platformRef, sessionId: randomUUID(), quiesce: false, full: false }
  await using session = await connector.openBackup({ ...request, base: new Map() }, call)
  const read = session.guestIo
  if (read === undefined) throw new Error('KVM tells of its guests')
  const guard = new LatencyGuard({ read, copyBytesPerSecond: () => 160 * MIB, settings }, await read(call))
  const idle = await read(call)
  expect(idle.queues?.map(({ underWayCount }) => underWayCount)).toEqual([0])
  await guard.look(call)
  // One byte a second: after a first write the disk owes minutes.
  const none = { bps_rd: 0, bps_wr: 0, iops: 0, iops_rd: 0, iops_wr: 0 }
  const limit = async (bps: number): Promise<unknown> => {
    return await host.qmp(vm, 'block_set_io_throttle', { id: backendOf('disk0'), ...none, bps }, z.unknown())
  }
  await limit(1)
  await host.guestIo(vm, 'disk0', 'aio_write -P 7 0 512')
  // The firmware looks for something to boot.
  await host.qmp(vm, 'cont', {}, z.unknown())
  while ((await read(call)).queues?.[0]?.underWayCount !== 1) await delay(50)
  await guard.look(call)
  await delay(1000)
  await guard.look(call)
  expect(guard.throttle.bytesPerSecond).toBe(80 * MIB)
  expect(guard.hurt.aborted).toBe(false)
  while (!guard.hurt.aborted) {
    await delay(200)
    await guard.look(call)
  }
  expect(guard.hurt.reason).toMatchObject({ code: 'source.guest_stalled' })
  await limit(0)
  while ((await read(call)).queues?.[0]?.underWayCount !== 0) await delay(50)
})

async function firstRef(connector: ReturnType<KvmTestHost['connect']>): Promise<string | undefined> {
  for await (const { platformRef } of connector.listVms(call)) return platformRef
  return undefined
}

async function untilDone(read: (options: typeof call) => Promise<GuestIoCounters>, operations: number): Promise<void> {
  while ((await read(call)).operations < operations) await delay(20)
}
