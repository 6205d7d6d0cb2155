import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { CallOptions } from '../block/block-source.ts'
import type { SourceConnector } from './source-connector.ts'
import type { NewVmRequest, TargetConnector } from './target-connector.ts'

const DEADLINE_MS = 60_000
const DISK_BYTES = 1024 * 1024

/** An empty place for VMs. */
export interface TargetFixture extends AsyncDisposable {
  /** The connector under test; after `crash` a new one. */
  readonly connector: TargetConnector
  /** Of the same platform: what the target makes, it sees. */
  readonly source: SourceConnector
  /** What is on a disk of a VM that does not run. */
  read(platformRef: string, diskId: string): Promise<Uint8Array>
  /** Makes a VM that no restore made; returns its platformRef. */
  addForeignVm(name: string): Promise<string>
  /** The agent dies: the connector is dropped without disposing anything. */
  crash(): Promise<void>
  /** Directories, or whatever VMs in the making are, that are there now. */
  leftovers(): Promise<number>
}

/** The contract of TargetConnector as tests, but for `startVm` of a guest that comes up. */
export function describeTargetConnector(driver: string, open: () => Promise<TargetFixture>): void {
  describe(`TargetConnector conformance: ${driver}`, () => {
    describeCreation(open)
    describeUnfinished(open)
    describeDeletion(open)
  })
}

function describeCreation(open: () => Promise<TargetFixture>): void {
  test('disks read as what was written, and as zeros elsewhere', async () => {
    await using fixture = await open()
    const request = newVm()
    await using vm = await fixture.connector.createVm(request, call())
    expect([...vm.disks.keys()]).toEqual(['disk0', 'disk1'])
    const expected = new Uint8Array(DISK_BYTES)
    for (const sink of vm.disks.values()) {
      expect(sink.sizeBytes).toBe(DISK_BYTES)
      await sink.write(4096, new Uint8Array(70_000).fill(0x5a), call())
      await sink.writeZeroes(8192, 4096, call())
      await sink.flush(call())
    }
    expected.fill(0x5a, 4096, 74_096).fill(0, 8192, 12_288)
    const platformRef = await vm.finish(call())
    await vm[Symbol.asyncDispose]()
    for (const diskId of ['disk0', 'disk1']) {
      expect(Buffer.compare(await fixture.read(platformRef, diskId), expected)).toBe(0)
    }
  })

  test('a finished VM is listed, stopped, as it was asked for, and found by its creation', async () => {
    await using fixture = await open()
    const request = newVm()
    const platformRef = await create(fixture, request)
    const vm = await fixture.source.getVm(platformRef, call())
    expect(vm).toMatchObject({
      platformRef,
      name: request.name,
      powerState: 'stopped',
      memoryBytes: request.memoryBytes,
      cpuCount: request.cpuCount,
      creationId: request.creationId,
    })
    expect(vm.disks.map(({ diskId, sizeBytes }) => ({ diskId, sizeBytes }))).toEqual(request.disks)
    expect(await fixture.connector.findCreated(request.creationId, call())).toEqual(vm)
    expect(await fixture.connector.findCreated(randomUUID(), call())).toBeUndefined()
    expect(await fixture.leftovers()).toBe(0)
  })

  test('a name that is taken is target.vm_exists, by a VM in the making too', async () => {
    await using fixture = await open()
    const exists = expect.objectContaining({ code: 'target.vm_exists' })
    const request = newVm()
    await fixture.addForeignVm('taken')
    await expect(fixture.connector.createVm(newVm('taken'), call())).rejects.toEqual(exists)
    await using vm = await fixture.connector.createVm(request, call())
    await expect(fixture.connector.createVm(newVm(request.name), call())).rejects.toEqual(exists)
    await vm.finish(call())
    await expect(fixture.connector.createVm(newVm(request.name), call())).rejects.toEqual(exists)
    await expect(fixture.connector.createVm({ ...request, name: 'another' }, call())).rejects.toEqual(exists)
  })
}

function describeUnfinished(open: () => Promise<TargetFixture>): void {
  test('disposed before finish, nothing is left', async () => {
    await using fixture = await open()
    const request = newVm()
    {
      await using vm = await fixture.connector.createVm(request, call())
      expect(await listed(fixture)).toEqual([])
      await vm.disks.get('disk0')?.write(0, new Uint8Array(512).fill(1), call())
    }
    expect(await fixture.leftovers()).toBe(0)
    expect(await listed(fixture)).toEqual([])
    await create(fixture, request)
  })

  test('the agent dies before finish: nothing is listed, and reconcile removes it', async () => {
    await using fixture = await open()
    const kept = newVm('kept')
    await fixture.connector.createVm(newVm('dropped'), call())
    await fixture.connector.createVm(kept, call())
    await fixture.crash()
    expect(await listed(fixture)).toEqual([])
    await fixture.connector.reconcile([kept.creationId], call())
    expect(await fixture.leftovers()).toBe(1)
    await fixture.connector.reconcile([], call())
    expect(await fixture.leftovers()).toBe(0)
  })

  test('the same creation again replaces what a dead one left', async () => {
    await using fixture = await open()
    const request = newVm()
    const first = await fixture.connector.createVm(request, call())
    await first.disks.get('disk0')?.write(0, new Uint8Array(512).fill(7), call())
    await fixture.crash()
    const platformRef = await create(fixture, request)
    expect((await fixture.read(platformRef, 'disk0')).every((byte) => byte === 0)).toBe(true)
  })

  test('reconcile leaves alone what is being made now', async () => {
    await using fixture = await open()
    await using vm = await fixture.connector.createVm(newVm(), call())
    await fixture.connector.reconcile([], call())
    await vm.disks.get('disk0')?.write(0, new Uint8Array(512).fill(9), call())
    await vm.disks.get('disk0')?.flush(call())
    const platformRef = await vm.finish(call())
    expect((await fixture.read(platformRef, 'disk0'))[0]).toBe(9)
  })
}

function describeDeletion(open: () => Promise<TargetFixture>): void {
  test('deletes a VM it made, once and again', async () => {
    await using fixture = await open()
    const platformRef = await create(fixture, newVm())
    await fixture.connector.stopVm(platformRef, call())
    await fixture.connector.deleteVm(platformRef, call())
    await fixture.connector.deleteVm(platformRef, call())
    expect(await listed(fixture)).toEqual([])
  })

  test('never deletes a VM that no restore made', async () => {
    await using fixture = await open()
    const platformRef = await fixture.addForeignVm('precious')
    const refused = expect.objectContaining({ code: 'target.not_ours' })
    await expect(fixture.connector.deleteVm(platformRef, call())).rejects.toEqual(refused)
    expect(await listed(fixture)).toEqual(['precious'])
  })

  test('an unknown VM cannot be started', async () => {
    await using fixture = await open()
    const unknown = expect.objectContaining({ code: 'source.vm_not_found' })
    const options = { ...call(), timeoutMs: 1000 }
    await expect(fixture.connector.startVm(randomUUID(), options)).rejects.toEqual(unknown)
  })
}

function newVm(name = `vm-${randomUUID().slice(0, 8)}`): NewVmRequest {
  return {
    creationId: randomUUID(),
    name,
    definition: {},
    memoryBytes: 32 * 1024 * 1024,
    cpuCount: 1,
    disks: ['disk0', 'disk1'].map((diskId) => ({ diskId, sizeBytes: DISK_BYTES })),
  }
}

async function create(fixture: TargetFixture, request: NewVmRequest): Promise<string> {
  await using vm = await fixture.connector.createVm(request, call())
  for (const sink of vm.disks.values()) await sink.flush(call())
  return await vm.finish(call())
}

async function listed(fixture: TargetFixture): Promise<string[]> {
  return (await Array.fromAsync(fixture.source.listVms(call()))).map(({ name }) => name)
}

function call(): CallOptions {
  return { signal: AbortSignal.timeout(DEADLINE_MS) }
}
