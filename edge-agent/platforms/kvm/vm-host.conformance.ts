import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { openNbdSource } from '../../nbd/client/nbd-source.ts'
import { QmpClient } from '../../qemu/qmp-client.ts'
import type { TestGuestAgent } from '../../qemu/test-guest-agent.ts'
import { ScratchFile, sessionNames } from './session-names.ts'
import { type VmHost, vmServices } from './vm-host.ts'

const DEADLINE_MS = 60_000
const KIB = 1024

/** A host with two VMs of one QCOW2 disk `disk0` of `sizeBytes` each, one running with stopped CPUs. */
export interface VmHostFixture extends AsyncDisposable {
  readonly host: VmHost
  readonly runningVmId: string
  /** No QEMU; where the guest agent's socket of a running one would be, `agent` listens. */
  readonly stoppedVmId: string
  readonly sizeBytes: number
  readonly agent: TestGuestAgent
  /** Overwrites the image of the stopped VM's disk with what is none. */
  breakDisk(): Promise<void>
}

/** The contract of VmHost as tests. */
export function describeVmHost(driver: string, open: () => Promise<VmHostFixture>): void {
  describe(`VmHost conformance: ${driver}`, () => {
    describeInventory(open)
    describeScratch(open)
    describeServices(open)
    describeFreezing(open)
  })
}

function describeInventory(open: () => Promise<VmHostFixture>): void {
  test('lists each VM as it finds it, running or not', async () => {
    await using fixture = await open()
    const { host, runningVmId, stoppedVmId } = fixture
    const listed = await host.listVms(call())
    expect(listed).toHaveLength(2)
    for (const [vmId, running] of [
      [runningVmId, true],
      [stoppedVmId, false],
    ] as const) {
      const vm = await host.findVm(vmId, call())
      expect(vm).toMatchObject({ config: { vmId, disks: [{ diskId: 'disk0' }] }, running, scratchFiles: [] })
      expect(listed).toContainEqual(vm)
    }
  })

  test('a VM that is not there is not found, and everything else about it is source.vm_not_found', async () => {
    await using fixture = await open()
    const { host } = fixture
    const vmId = randomUUID()
    expect(await host.findVm(vmId, call())).toBeUndefined()
    const calls: (() => Promise<unknown>)[] = [
      async () => await host.readDiskSize(vmId, 'disk0', call()),
      async () => await host.createScratch(vmId, { file: scratchFile(), sizeBytes: 64 * KIB }, call()),
      async () => await host.removeScratch(vmId, call()),
      async () => await host.measureSpace(vmId, call()),
      async () => await host.openService(vmId, 'monitor', call()),
      async () => await host.freezeGuest(vmId, { maxMs: 1000 }, call()),
      async () => await host.thawGuest(vmId, { attemptsMax: 1 }),
    ]
    for (const run of calls) await expect(run()).rejects.toMatchObject({ code: 'source.vm_not_found' })
  })

  test("a stopped VM's disk is as large as its image says; one that cannot be read is source.disk_unsupported", async () => {
    await using fixture = await open()
    const { host, stoppedVmId, sizeBytes } = fixture
    expect(await host.readDiskSize(stoppedVmId, 'disk0', call())).toBe(sizeBytes)
    const unsupported = expect.objectContaining({ code: 'source.disk_unsupported' })
    await expect(host.readDiskSize(stoppedVmId, 'disk9', call())).rejects.toEqual(unsupported)
    await fixture.breakDisk()
    await expect(host.readDiskSize(stoppedVmId, 'disk0', call())).rejects.toEqual(unsupported)
  })

  test('an aborted signal rejects with its reason', async () => {
    await using fixture = await open()
    const { host, runningVmId } = fixture
    const aborted = { signal: AbortSignal.abort(new Error('stop')) }
    await expect(host.listVms(aborted)).rejects.toThrow('stop')
    await expect(host.findVm(runningVmId, aborted)).rejects.toThrow('stop')
    await expect(host.measureSpace(runningVmId, aborted)).rejects.toThrow('stop')
    await expect(host.openService(runningVmId, 'monitor', aborted)).rejects.toThrow('stop')
  })
}

function describeScratch(open: () => Promise<VmHostFixture>): void {
  test('overlays are made twice as once, are seen and measured, and are removed without asking which', async () => {
    await using fixture = await open()
    const { host, runningVmId: vmId } = fixture
    const before = await host.measureSpace(vmId, call())
    expect(before).toMatchObject({ scratchBytes: 0 })
    expect(before.freeBytes).toBeGreaterThan(0)
    const files = [scratchFile(), scratchFile()]
    for (const file of [...files, ...files]) {
      const path = await host.createScratch(vmId, { file, sizeBytes: 64 * KIB }, call())
      expect(path.endsWith(`/${file}`)).toBe(true)
    }
    expect((await host.findVm(vmId, call()))?.scratchFiles.toSorted()).toEqual(files.toSorted())
    expect((await host.measureSpace(vmId, call())).scratchBytes).toBeGreaterThan(0)
    for (const _ of [1, 2]) await host.removeScratch(vmId, call())
    expect((await host.findVm(vmId, call()))?.scratchFiles).toEqual([])
  })

  test.each([
    'disk0.qcow2',
    '../sendense-0-disk0.fleece',
    '/tmp/sendense-0-disk0.fleece',
    'sendense-0-d/../x.fleece',
    '',
  ])('no other file is touched by that: %j', async (file) => {
    await using fixture = await open()
    const { host, stoppedVmId, sizeBytes } = fixture
    const making = host.createScratch(stoppedVmId, { file, sizeBytes: 64 * KIB }, call())
    await expect(making).rejects.toMatchObject({ code: 'input.invalid' })
    expect(await host.readDiskSize(stoppedVmId, 'disk0', call())).toBe(sizeBytes)
  })
}

function describeServices(open: () => Promise<VmHostFixture>): void {
  test('the monitor is reached, and NBD as soon as QEMU serves it where the address says', async () => {
    await using fixture = await open()
    const { host, runningVmId: vmId, sizeBytes } = fixture
    await using monitor = await host.openService(vmId, 'monitor', call())
    await using nbd = await host.openService(vmId, 'nbd', call())
    await using qmp = await QmpClient.connect(monitor.path, call())
    const run = async (command: string, args: object) => await qmp.execute(command, args, z.unknown(), call())
    await run('nbd-server-start', { addr: { type: 'unix', data: { path: nbd.hostPath } } })
    await run('block-export-add', { 'type': 'nbd', 'id': 'e', 'node-name': 'disk0', 'name': 'disk0' })
    const address = { transport: 'unix' as const, path: nbd.path }
    await using source = await openNbdSource({ kind: 'nbd', address, exportName: 'disk0' }, call())
    expect(source.sizeBytes).toBe(sizeBytes)
  })

  test('an address that was given back can be had again, as often as one likes', async () => {
    await using fixture = await open()
    const { host, runningVmId } = fixture
    for (let turn = 0; turn < 20; turn++) {
      await using address = await host.openService(runningVmId, 'monitor', call())
      await using qmp = await QmpClient.connect(address.path, call())
      expect(qmp.closed.aborted).toBe(false)
      await address[Symbol.asyncDispose]()
    }
  })

  test('a VM that does not run offers nothing', async () => {
    await using fixture = await open()
    for (const service of vmServices) {
      const opening = fixture.host.openService(fixture.stoppedVmId, service, call())
      await expect(opening).rejects.toMatchObject({ code: 'source.vm_not_running' })
    }
  })
}

function describeFreezing(open: () => Promise<VmHostFixture>): void {
  test('a guest is frozen until it is thawed, which tells how many file systems were; then none is', async () => {
    await using fixture = await open()
    const { host, stoppedVmId: vmId, agent } = fixture
    expect(await host.freezeGuest(vmId, { maxMs: 60_000 }, call())).toBe(true)
    expect(agent.frozen).toBe(true)
    expect(await host.thawGuest(vmId)).toBe(2)
    expect(agent.frozen).toBe(false)
    expect(await host.thawGuest(vmId)).toBe(0)
  })

  test('a guest that cannot freeze is not frozen, and that is no error', async () => {
    await using fixture = await open()
    fixture.agent.refused.add('guest-fsfreeze-freeze')
    expect(await fixture.host.freezeGuest(fixture.stoppedVmId, { maxMs: 60_000 }, call())).toBe(false)
    expect(fixture.agent.frozen).toBe(false)
  })

  test('a guest that somebody else froze is thawed', async () => {
    await using fixture = await open()
    fixture.agent.frozen = true
    expect(await fixture.host.thawGuest(fixture.stoppedVmId)).toBe(2)
    expect(fixture.agent.frozen).toBe(false)
  })

  test('a guest that cannot be thawed is source.snapshot_failed', async () => {
    await using fixture = await open()
    fixture.agent.frozen = true
    fixture.agent.refused.add('guest-fsfreeze-thaw')
    const thawing = fixture.host.thawGuest(fixture.stoppedVmId, { attemptsMax: 1 })
    await expect(thawing).rejects.toMatchObject({ code: 'source.snapshot_failed' })
  })
}

function scratchFile(): string {
  return ScratchFile.parse(sessionNames(randomUUID()).disk('disk0', 0).scratchFile)
}

function call() {
  return { signal: AbortSignal.timeout(DEADLINE_MS) }
}
