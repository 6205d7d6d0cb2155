import { randomUUID } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { seededBytes } from '@sendense/shared/runtime/seeded-random.ts'
import { describe, expect, test } from 'vitest'
import { createMemoryDisk, type MemoryDisk } from '../../block/memory-disk.ts'
import { createMemoryStore, type MemoryStore } from '../../object-store/memory/memory-store.ts'
import type { ObjectStore } from '../../object-store/object-store.ts'
import { createSleepingClock } from '../../object-store/sleeping-clock.ts'
import type { ProcessIdentity } from '../process-identity.ts'
import { backUp, copyInto, newBackupOf, restoreAll, type ScenarioBackup, sealFactsOf } from '../repository-scenario.ts'
import type { Repository } from '../repository.ts'
import { call, sameBytes } from '../scenario-guest.ts'
import { encodeCondemnedList } from './format/condemned-list.ts'
import { encodeLease, parseLease } from './format/lease.ts'
import {
  condemnedListKey,
  fenceKey,
  parseLeaseKey,
  parsePackKey,
  parsePackSetKey,
  prefixes,
} from './format/object-keys.ts'
import { parsePackSet } from './format/pack-set.ts'
import { createMemoryPackCatalogue } from './index/memory-pack-catalogue.ts'
import { protocolTimes } from './protocol-times.ts'
import {
  lentStore,
  makeTestChunkRepository,
  TEST_CHUNK_BYTES,
  type TestChunkRepository,
} from './test-chunk-repository.ts'

const DISK_BYTES = 10 * TEST_CHUNK_BYTES

async function makeScene(): Promise<{ store: MemoryStore; made: TestChunkRepository }> {
  const store = createMemoryStore()
  return { store, made: await makeTestChunkRepository(lentStore(store), call()) }
}

function diskOf(seed: number): MemoryDisk {
  return createMemoryDisk({ sizeBytes: DISK_BYTES, content: seededBytes(seed)(DISK_BYTES) })
}

function fullOf(source: MemoryDisk, vmId = randomUUID()): ScenarioBackup {
  return { vmId, disks: [{ diskId: 'disk0', sizeBytes: DISK_BYTES, mode: 'full', source }] }
}

async function expectRestores(repository: Repository, restorePointId: string, source: MemoryDisk): Promise<void> {
  const restored = await restoreAll(repository, restorePointId, call())
  expect(sameBytes(restored.get('disk0'), source.bytes)).toBe(true)
}

async function keysOf(store: ObjectStore, prefix: string): Promise<string[]> {
  return (await Array.fromAsync(store.list(prefix, call()))).flat().map(({ key }) => key)
}

describe('sessions', () => {
  test('50 small ones at once: every restore point is whole, and nothing is left of their leases', async () => {
    const { store, made } = await makeScene()
    await using repository = await made.open()
    const disks = Array.from({ length: 50 }, (_, index) => diskOf(index % 20))
    const sealed = await Promise.all(disks.map(async (disk) => await backUp(repository, fullOf(disk), call())))
    await using again = await made.open({ catalogue: createMemoryPackCatalogue() })
    for (const [index, { manifest }] of sealed.entries()) {
      const disk = disks[index]
      if (disk !== undefined) await expectRestores(again, manifest.restorePointId, disk)
    }
    expect(await keysOf(store, prefixes.leases)).toEqual([])
  })

  test('what another VM has is not stored again, whoever asks, and each restores by itself', async () => {
    const { store, made } = await makeScene()
    await using repository = await made.open()
    const [disk, twin] = [diskOf(1), diskOf(1)]
    const first = await backUp(repository, fullOf(disk), call())
    expect(first.manifest.disks[0]?.storedBytes).toBeGreaterThan(DISK_BYTES)
    const packs = await keysOf(store, prefixes.packs)
    const second = await backUp(repository, fullOf(twin), call())
    await using other = await made.open({ catalogue: createMemoryPackCatalogue() })
    const third = await backUp(other, fullOf(twin), call())
    for (const { manifest } of [second, third]) expect(manifest.disks[0]?.storedBytes).toBe(0)
    expect(await keysOf(store, prefixes.packs)).toEqual(packs)
    await repository.deleteRestorePoint(first.manifest.restorePointId, call())
    await expectRestores(other, third.manifest.restorePointId, twin)
  })

  test('an index is built from the packs alone where index objects are gone or damaged', async () => {
    const { store, made } = await makeScene()
    const disk = diskOf(1)
    {
      await using repository = await made.open()
      await backUp(repository, fullOf(disk), call())
      await backUp(repository, fullOf(diskOf(2)), call())
    }
    const [gone, damaged] = await keysOf(store, prefixes.indexDeltas)
    await store.delete(gone ?? '', call())
    await store.delete(damaged ?? '', call())
    await store.put(damaged ?? '', new Uint8Array(500), call())
    await using repository = await made.open({ catalogue: createMemoryPackCatalogue() })
    const again = await backUp(repository, fullOf(disk), call())
    expect(again.manifest.disks[0]?.storedBytes).toBe(0)
  })

  test('a pack that is gone is no target, whatever the catalogue says: its chunks are stored again', async () => {
    const { store, made } = await makeScene()
    const disk = diskOf(1)
    {
      await using repository = await made.open()
      await backUp(repository, fullOf(disk), call())
    }
    for (const key of await keysOf(store, prefixes.packs)) await store.delete(key, call())
    await using repository = await made.open()
    const { manifest } = await backUp(repository, fullOf(disk), call())
    expect(manifest.disks[0]?.storedBytes).toBeGreaterThan(DISK_BYTES)
    await expectRestores(repository, manifest.restorePointId, disk)
  })

  test('packs condemned while a session deduplicates against them are not needed by its restore point', async () => {
    const { store, made } = await makeScene()
    await using repository = await made.open()
    const disk = diskOf(1)
    const first = await backUp(repository, fullOf(disk), call())
    const old = (await keysOf(store, prefixes.packs))
      .map((key) => parsePackKey(key))
      .filter((place) => place !== undefined)
    const backup = fullOf(disk)
    const asked = newBackupOf(backup)
    await using writer = await repository.openBackup(asked, call())
    const copied = await copyInto(repository, writer, backup, call())
    await repository.deleteRestorePoint(first.manifest.restorePointId, call())
    const clocks = { wallMs: Date.now(), bootId: randomUUID(), upMs: 1 }
    const list = { runId: randomUUID(), condemnedAt: new Date(), clocks, packs: old }
    const context = { repositoryId: made.repositoryId, keys: made.keys, randomBytes: seededBytes(3) }
    await store.put(condemnedListKey(list.runId), encodeCondemnedList(list, context), call())
    const { manifest } = await writer.seal(sealFactsOf(asked, { takenAt: new Date(), copied }), call())
    const [setKey] = (await keysOf(store, prefixes.packSets)).filter((key) => key.includes(manifest.restorePointId))
    const place = parsePackSetKey(setKey ?? '')
    if (place === undefined) throw new Error('the restore point has a pack set')
    const { packs } = parsePackSet(await store.get(setKey ?? '', call()), place, context)
    expect(packs.filter(({ packId }) => old.some((one) => one.packId === packId))).toEqual([])
    for (const key of await keysOf(store, prefixes.packs)) {
      const packId = parsePackKey(key)?.packId
      if (old.some((one) => one.packId === packId)) await store.delete(key, call())
    }
    await using again = await made.open()
    await expectRestores(again, manifest.restorePointId, disk)
  })

  test('a store that is full is repository.no_space, and what was written serves the next try', async () => {
    const { store, made } = await makeScene()
    let packsLeft = 1
    const full: ObjectStore = {
      ...(await lentStore(store)()),
      put: async (key, body, options) => {
        if (key.startsWith(prefixes.packs) && packsLeft-- <= 0) throw new PlatformError('storage.no_space', 'full')
        await store.put(key, body, options)
      },
    }
    await using repository = await made.open({ store: full })
    const disk = diskOf(1)
    const backup = fullOf(disk)
    await expect(backUp(repository, backup, call())).rejects.toMatchObject({ code: 'repository.no_space' })
    expect(await Array.fromAsync(repository.listRestorePoints({}, call()))).toEqual([])
    packsLeft = 100
    const { manifest } = await backUp(repository, backup, call())
    expect(manifest.disks[0]?.storedBytes).toBeLessThan(DISK_BYTES)
    await expectRestores(repository, manifest.restorePointId, disk)
  })
})

describe('a lease', () => {
  test('that somebody fenced keeps the writer from sealing', async () => {
    const { store, made } = await makeScene()
    await using repository = await made.open()
    const backup = fullOf(diskOf(1))
    const asked = newBackupOf(backup)
    await using writer = await repository.openBackup(asked, call())
    const copied = await copyInto(repository, writer, backup, call())
    const writerId = (await keysOf(store, prefixes.leases))[0]?.split('/')[1] ?? ''
    await store.put(fenceKey(writerId), Uint8Array.of(1), call())
    const sealing = writer.seal(sealFactsOf(asked, { takenAt: new Date(), copied }), call())
    await expect(sealing).rejects.toMatchObject({ code: 'repository.lease_lost' })
    expect(await Array.fromAsync(repository.listRestorePoints({}, call()))).toEqual([])
  })

  test('keeps a writer from sealing whose machine slept so long that others took it for dead', async () => {
    const clock = createSleepingClock()
    const made = await makeTestChunkRepository(lentStore(createMemoryStore({ clock })), call())
    await using repository = await made.open()
    const backup = fullOf(diskOf(1))
    const asked = newBackupOf(backup)
    await using writer = await repository.openBackup(asked, call())
    const copied = await copyInto(repository, writer, backup, call())
    await clock.sleep(protocolTimes.leaseExpiryMs, call())
    const sealing = writer.seal(sealFactsOf(asked, { takenAt: new Date(), copied }), call())
    await expect(sealing).rejects.toMatchObject({ code: 'repository.lease_lost' })
  })

  test('that may have expired by its own clock keeps the writer from sealing', async () => {
    const { made } = await makeScene()
    let nowMs = 1000
    await using repository = await made.open({ nowMs: () => nowMs })
    const backup = fullOf(diskOf(1))
    const asked = newBackupOf(backup)
    await using writer = await repository.openBackup(asked, call())
    const copied = await copyInto(repository, writer, backup, call())
    nowMs += protocolTimes.leaseExpiryMs
    const sealing = writer.seal(sealFactsOf(asked, { takenAt: new Date(), copied }), call())
    await expect(sealing).rejects.toMatchObject({ code: 'repository.lease_lost' })
    expect(await Array.fromAsync(repository.listRestorePoints({}, call()))).toEqual([])
  })

  test('fenced between the seal and the look after it: the restore point is taken back', async () => {
    const { store, made } = await makeScene()
    const fencing: ObjectStore = {
      ...(await lentStore(store)()),
      put: async (key, body, options) => {
        await store.put(key, body, options)
        if (!key.startsWith(prefixes.manifests)) return
        const writerId = (await keysOf(store, prefixes.leases))[0]?.split('/')[1] ?? ''
        await store.put(fenceKey(writerId), Uint8Array.of(1), call())
      },
    }
    await using repository = await made.open({ store: fencing })
    const backing = backUp(repository, fullOf(diskOf(1)), call())
    await expect(backing).rejects.toMatchObject({ code: 'repository.lease_lost' })
    expect(await keysOf(store, prefixes.manifests)).toEqual([])
  })

  test('of a writer on another machine is repository.locked until it is older than ten minutes by the store’s clock', async () => {
    const clock = createSleepingClock()
    const store = createMemoryStore({ clock })
    const made = await makeTestChunkRepository(lentStore(store), call())
    const vmId = randomUUID()
    const disk = diskOf(1)
    await using repository = await made.open()
    // Whoever holds it writes on another machine: what this one's processes are says nothing.
    const other = { host: 'elsewhere', machineId: 'f'.repeat(64), bootId: 'b', pid: 1, startTicks: '1' }
    const elsewhere = { ...(await lentStore(store)()), put: foreign(store, made, other) }
    {
      await using there = await made.open({ store: elsewhere })
      const writer = await there.openBackup(newBackupOf(fullOf(disk, vmId)), call())
      await expect(backUp(repository, fullOf(disk, vmId), call())).rejects.toMatchObject({ code: 'repository.locked' })
      await backUp(repository, fullOf(disk), call())
      await clock.sleep(protocolTimes.leaseExpiryMs + 1000, call())
      await backUp(repository, fullOf(disk, vmId), call())
      await writer[Symbol.asyncDispose]()
    }
    expect(await keysOf(store, prefixes.leases)).toEqual([])
  })
})

/** Puts leases as a process of another machine does. */
function foreign(store: ObjectStore, made: TestChunkRepository, holder: ProcessIdentity): ObjectStore['put'] {
  const context = { repositoryId: made.repositoryId, keys: made.keys, randomBytes: seededBytes(9) }
  return async (key, body, options) => {
    const place = parseLeaseKey(key)
    if (place === undefined || 'fenced' in place || !(body instanceof Uint8Array)) {
      await store.put(key, body, options)
      return
    }
    await store.put(key, encodeLease({ ...parseLease(body, place, context), holder }, context), options)
  }
}
