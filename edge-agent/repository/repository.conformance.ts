import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createMemoryDisk } from '../block/memory-disk.ts'
import { describeDeletion } from './deletion.conformance.ts'
import { backUp, copyInto, newBackupOf, restoreAll, sealFactsOf } from './repository-scenario.ts'
import type { SealedManifest } from './restore-point-manifest.ts'
import { call, DISK_BYTES, Guest, type RepositoryFixture, sameBytes, UNIT_BYTES } from './scenario-guest.ts'

export interface RepositoryTraits {
  /** Whether restore points build on each other so that a chain of them gets too long. */
  readonly chains: 'bounded' | 'none'
}

/**
 * The contract of Repository as tests. Every kind must pass all of them.
 * @param open makes an empty repository whose chains, if it has any, hold at most three restore points
 */
export function describeRepository(
  kind: string,
  open: () => Promise<RepositoryFixture>,
  { chains }: RepositoryTraits = { chains: 'bounded' },
): void {
  describe(`Repository conformance: ${kind}`, () => {
    describeContent(open)
    describeExistence(open)
    describeBases(open)
    if (chains === 'bounded') describeChains(open)
    else describeNoChains(open)
    describeRefusals(open)
    describeDeletion(open)
  })
}

function describeContent(open: () => Promise<RepositoryFixture>): void {
  test('a full point and each increment restore byte for byte, after opening again too', async () => {
    await using fixture = await open()
    const guest = new Guest()
    const models: [string, Uint8Array][] = []
    for (let round = 0; round < 3; round += 1) {
      await guest.fill(round, round + 1)
      await guest.fill(10 + round, 0x40 + round, 100)
      if (round > 0) await guest.zero(round - 1)
      const sealed = await guest.backUp(fixture.repository)
      models.push([sealed.manifest.restorePointId, guest.disk.bytes.slice()])
    }
    for (const repository of [fixture.repository, await fixture.reopen()]) {
      for (const [id, model] of models)
        expect(sameBytes((await restoreAll(repository, id, call())).get('disk0'), model)).toBe(true)
    }
  })

  test('a changed range that reads zeros now hides what the parent had there', async () => {
    await using fixture = await open()
    const guest = new Guest()
    await guest.fill(0, 0xaa, DISK_BYTES)
    const first = await guest.backUp(fixture.repository)
    await guest.zero(3, 2 * UNIT_BYTES)
    await guest.zero(8, 4096)
    const second = await guest.backUp(fixture.repository)
    const restored = (await restoreAll(fixture.repository, second.manifest.restorePointId, call())).get('disk0')
    expect(sameBytes(restored, guest.disk.bytes)).toBe(true)
    expect(restored?.subarray(3 * UNIT_BYTES, 5 * UNIT_BYTES).every((byte) => byte === 0)).toBe(true)
    const before = (await restoreAll(fixture.repository, first.manifest.restorePointId, call())).get('disk0')
    expect(before?.every((byte) => byte === 0xaa)).toBe(true)
  })

  test('a comparing backup without change tracking restores byte for byte', async () => {
    await using fixture = await open()
    const guest = new Guest()
    await guest.fill(0, 5, 4 * UNIT_BYTES)
    await guest.backUp(fixture.repository)
    await guest.fill(2, 9)
    await guest.zero(0)
    const second = await guest.backUp(fixture.repository, 'compare')
    const restored = await restoreAll(fixture.repository, second.manifest.restorePointId, call())
    expect(sameBytes(restored.get('disk0'), guest.disk.bytes)).toBe(true)
  })

  test('disks of one point may be of different modes and sizes', async () => {
    await using fixture = await open()
    const guest = new Guest()
    const other = createMemoryDisk({ sizeBytes: 4 * UNIT_BYTES, content: new Uint8Array(4 * UNIT_BYTES).fill(3) })
    await guest.fill(1, 1)
    await guest.backUp(fixture.repository)
    await guest.fill(2, 2)
    const added = { diskId: 'disk1', sizeBytes: other.sizeBytes, mode: 'full', source: other } as const
    const sealed = await guest.backUp(fixture.repository, 'incremental', [added])
    const restored = await restoreAll(fixture.repository, sealed.manifest.restorePointId, call())
    expect([...restored.keys()].toSorted()).toEqual(['disk0', 'disk1'])
    expect(sameBytes(restored.get('disk0'), guest.disk.bytes)).toBe(true)
    expect(sameBytes(restored.get('disk1'), other.bytes)).toBe(true)
  })

  test('an open restore point stays as it is while the next one is written', async () => {
    await using fixture = await open()
    const guest = new Guest()
    await guest.fill(0, 1)
    const first = await guest.backUp(fixture.repository)
    const before = guest.disk.bytes.slice()
    await using reader = await fixture.repository.openRestorePoint(first.manifest.restorePointId, call())
    await guest.fill(0, 2)
    await guest.backUp(fixture.repository)
    const into = new Uint8Array(DISK_BYTES)
    await reader.disks.get('disk0')?.source.read(0, into, call())
    expect(sameBytes(into, before)).toBe(true)
  })
}

function describeExistence(open: () => Promise<RepositoryFixture>): void {
  test('a manifest says what was asked, and names its parent by hash', async () => {
    await using fixture = await open()
    const guest = new Guest()
    await guest.fill(0, 1)
    const first = await guest.backUp(fixture.repository)
    await guest.fill(1, 2)
    const second = await guest.backUp(fixture.repository)
    expect(first.manifest.parentRestorePointId).toBeUndefined()
    expect(second.manifest).toMatchObject({
      vmId: guest.vmId,
      repositoryId: fixture.repository.repositoryId,
      parentRestorePointId: first.manifest.restorePointId,
      parentManifestHash: first.manifestHash,
    })
    expect(second.manifest.disks).toMatchObject([
      { diskId: 'disk0', sizeBytes: DISK_BYTES, mode: 'incremental', readBytes: UNIT_BYTES },
    ])
    expect(await fixture.repository.getRestorePoint(second.manifest.restorePointId, call())).toEqual(second)
    expect(await (await fixture.reopen()).getRestorePoint(first.manifest.restorePointId, call())).toEqual(first)
  })

  test('lists oldest first, of one VM or of all', async () => {
    await using fixture = await open()
    const [one, two] = [new Guest(), new Guest()]
    const early = await one.backUp(fixture.repository)
    const middle = await two.backUp(fixture.repository)
    const late = await one.backUp(fixture.repository)
    const listed = async (filter: { vmId?: string }): Promise<SealedManifest[]> =>
      await Array.fromAsync(fixture.repository.listRestorePoints(filter, call()))
    expect(await listed({})).toEqual([early, middle, late])
    expect(await listed({ vmId: one.vmId })).toEqual([early, late])
    expect(await listed({ vmId: randomUUID() })).toEqual([])
  })

  test('nothing exists before it is sealed, and nothing of it after it was given up', async () => {
    await using fixture = await open()
    const guest = new Guest()
    await guest.fill(0, 1)
    const first = await guest.backUp(fixture.repository)
    await guest.fill(0, 2)
    const backup = guest.next('incremental')
    const asked = newBackupOf(backup)
    {
      await using writer = await fixture.repository.openBackup(asked, call())
      await copyInto(fixture.repository, writer, backup, call())
      expect(await Array.fromAsync(fixture.repository.listRestorePoints({}, call()))).toEqual([first])
    }
    for (const repository of [fixture.repository, await fixture.reopen()]) {
      expect(await Array.fromAsync(repository.listRestorePoints({}, call()))).toEqual([first])
      const gone = repository.openRestorePoint(asked.restorePointId, call())
      await expect(gone).rejects.toMatchObject({ code: 'repository.restore_point_not_found' })
    }
  })

  test('a given-up or failed point leaves the way free for the next', async () => {
    await using fixture = await open()
    const guest = new Guest()
    await guest.fill(0, 1)
    const first = await guest.backUp(fixture.repository)
    await guest.fill(1, 2)
    const backup = guest.next('incremental')
    const asked = newBackupOf(backup)
    {
      await using writer = await fixture.repository.openBackup(asked, call())
      await copyInto(fixture.repository, writer, backup, call())
      const facts = { ...sealFactsOf(asked, { takenAt: new Date() }), disks: [] }
      await expect(writer.seal(facts, call())).rejects.toMatchObject({ code: 'input.invalid' })
    }
    {
      await using writer = await fixture.repository.openBackup(asked, call())
      const stop = new AbortController()
      stop.abort(new Error('asked to stop'))
      const facts = sealFactsOf(asked, { takenAt: new Date() })
      await expect(writer.seal(facts, { signal: stop.signal })).rejects.toThrow('asked to stop')
    }
    expect(await Array.fromAsync(fixture.repository.listRestorePoints({}, call()))).toEqual([first])
    const sealed = await backUp(fixture.repository, backup, call())
    const restored = await restoreAll(fixture.repository, sealed.manifest.restorePointId, call())
    expect(sameBytes(restored.get('disk0'), guest.disk.bytes)).toBe(true)
  })

  test('an aborted opening rejects with the reason and keeps no lock', async () => {
    await using fixture = await open()
    const guest = new Guest()
    const asked = newBackupOf(guest.next('full'))
    const stop = new AbortController()
    stop.abort(new Error('asked to stop'))
    await expect(fixture.repository.openBackup(asked, { signal: stop.signal })).rejects.toThrow('asked to stop')
    await using writer = await fixture.repository.openBackup(asked, call())
    expect(writer.disks.size).toBe(1)
  })
}

function describeBases(open: () => Promise<RepositoryFixture>): void {
  test('the base, the sink and the ids begin as the parent', async () => {
    await using fixture = await open()
    const guest = new Guest()
    await guest.fill(0, 1, 5 * UNIT_BYTES)
    const first = await guest.backUp(fixture.repository)
    await using reader = await fixture.repository.openRestorePoint(first.manifest.restorePointId, call())
    await using writer = await fixture.repository.openBackup(newBackupOf(guest.next('incremental')), call())
    const disk = writer.disks.get('disk0')
    expect(disk?.base === undefined).toBe(disk?.sink.chunks !== undefined)
    const into = guest.disk.bytes.slice()
    if (disk?.base !== undefined) await disk.base.read(0, into.fill(0), call())
    expect(sameBytes(into, guest.disk.bytes)).toBe(true)
    expect(disk?.sink.sizeBytes).toBe(DISK_BYTES)
    expect(Buffer.from(disk?.chunkIds.bytes ?? [])).toEqual(
      Buffer.from(reader.disks.get('disk0')?.chunkIds.bytes ?? []),
    )
  })

  test('a parent that cannot be built on is repository.base_mismatch', async () => {
    await using fixture = await open()
    const guest = new Guest()
    await guest.fill(0, 1)
    await guest.backUp(fixture.repository)
    const good = newBackupOf(guest.next('incremental'))
    const [disk] = good.disks
    if (disk === undefined) throw new Error('one disk was asked for')
    const bad = [
      { ...good, parentRestorePointId: randomUUID() },
      { ...good, vmId: randomUUID() },
      { ...good, disks: [{ ...disk, sizeBytes: disk.sizeBytes + 512 }] },
      { ...good, disks: [{ ...disk, diskId: 'disk7' }] },
      { restorePointId: good.restorePointId, vmId: good.vmId, disks: good.disks },
    ]
    for (const backup of bad) {
      await expect(fixture.repository.openBackup(backup, call())).rejects.toMatchObject({
        code: 'repository.base_mismatch',
      })
    }
    await using writer = await fixture.repository.openBackup(good, call())
    expect(writer.disks.size).toBe(1)
  })
}

function describeNoChains(open: () => Promise<RepositoryFixture>): void {
  test('there is always another restore point to build on, and each restores', async () => {
    await using fixture = await open()
    const guest = new Guest()
    const models: [string, Uint8Array][] = []
    for (let round = 0; round < 6; round += 1) {
      await guest.fill(round, round + 1)
      const { manifest } = await guest.backUp(fixture.repository)
      expect(await fixture.repository.isChainFull(manifest.restorePointId, call())).toBe(false)
      models.push([manifest.restorePointId, guest.disk.bytes.slice()])
    }
    for (const [id, model] of models) {
      expect(sameBytes((await restoreAll(fixture.repository, id, call())).get('disk0'), model)).toBe(true)
    }
  })
}

function describeChains(open: () => Promise<RepositoryFixture>): void {
  test('a full chain says so, is not built on, and a full backup begins a new one', async () => {
    await using fixture = await open()
    const guest = new Guest()
    const full: boolean[] = []
    for (let round = 0; round < 3; round += 1) {
      await guest.fill(round, round + 1)
      const { manifest } = await guest.backUp(fixture.repository)
      full.push(await fixture.repository.isChainFull(manifest.restorePointId, call()))
    }
    expect(full).toEqual([false, false, true])
    const refused = fixture.repository.openBackup(newBackupOf(guest.next('incremental')), call())
    await expect(refused).rejects.toMatchObject({ code: 'repository.base_mismatch' })
    const sealed = await guest.backUp(fixture.repository, 'full')
    expect(await fixture.repository.isChainFull(sealed.manifest.restorePointId, call())).toBe(false)
  })
}

function describeRefusals(open: () => Promise<RepositoryFixture>): void {
  test('a second writer of a VM is repository.locked until the first has ended; other VMs are free', async () => {
    await using fixture = await open()
    const guest = new Guest()
    const other = new Guest()
    {
      await using writer = await fixture.repository.openBackup(newBackupOf(guest.next('full')), call())
      const second = fixture.repository.openBackup(newBackupOf(guest.next('full')), call())
      await expect(second).rejects.toMatchObject({ code: 'repository.locked' })
      await other.backUp(fixture.repository)
      expect(writer.disks.size).toBe(1)
    }
    await guest.backUp(fixture.repository)
  })

  test('what cannot fit for certain is repository.no_space at once', async () => {
    await using fixture = await open()
    const guest = new Guest()
    const asked = newBackupOf(guest.next('full'))
    const { capacityBytes, freeBytes } = await fixture.repository.getCapacity(call())
    expect(freeBytes).toBeLessThanOrEqual(capacityBytes)
    const disks = asked.disks.map((disk) => ({ ...disk, expectedBytes: capacityBytes + 1 }))
    const refused = fixture.repository.openBackup({ ...asked, disks }, call())
    await expect(refused).rejects.toMatchObject({ code: 'repository.no_space' })
    await guest.backUp(fixture.repository)
  })

  test('nonsense is input.invalid', async () => {
    await using fixture = await open()
    const guest = new Guest()
    const sealed = await guest.backUp(fixture.repository)
    const good = newBackupOf(guest.next('full'))
    const [disk] = good.disks
    if (disk === undefined) throw new Error('one disk was asked for')
    const bad = [
      { ...good, restorePointId: '../../etc' },
      { ...good, vmId: 'x' },
      { ...good, restorePointId: sealed.manifest.restorePointId },
      { ...good, disks: [] },
      { ...good, disks: [disk, disk] },
      { ...good, disks: [{ ...disk, diskId: '../disk0' }] },
      { ...good, disks: [{ ...disk, sizeBytes: 1000 }] },
      { ...good, disks: [{ ...disk, sizeBytes: 0 }] },
    ]
    for (const backup of bad) {
      await expect(fixture.repository.openBackup(backup, call())).rejects.toMatchObject({ code: 'input.invalid' })
    }
  })

  test('an unknown restore point is repository.restore_point_not_found', async () => {
    await using fixture = await open()
    const id = randomUUID()
    const unknown = { code: 'repository.restore_point_not_found' }
    await expect(fixture.repository.getRestorePoint(id, call())).rejects.toMatchObject(unknown)
    await expect(fixture.repository.openRestorePoint(id, call())).rejects.toMatchObject(unknown)
    await expect(fixture.repository.isChainFull(id, call())).rejects.toMatchObject(unknown)
  })
}
