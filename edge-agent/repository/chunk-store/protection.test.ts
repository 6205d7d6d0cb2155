import { randomUUID } from 'node:crypto'
import { seededBytes } from '@sendense/shared/runtime/seeded-random.ts'
import { describe, expect, test } from 'vitest'
import { createMemoryDisk, type MemoryDisk } from '../../block/memory-disk.ts'
import { createMemoryStore } from '../../object-store/memory/memory-store.ts'
import type { ObjectStore } from '../../object-store/object-store.ts'
import { createSleepingClock } from '../../object-store/sleeping-clock.ts'
import { backUp, restoreAll } from '../repository-scenario.ts'
import type { Repository } from '../repository.ts'
import type { SealedManifest } from '../restore-point-manifest.ts'
import { call, sameBytes } from '../scenario-guest.ts'
import { packKey, parsePackSetKey, prefixes } from './format/object-keys.ts'
import { parsePackSet } from './format/pack-set.ts'
import { generationEnd, generationOf } from './generation.ts'
import {
  lentStore,
  makeTestChunkRepository,
  TEST_CHUNK_BYTES,
  type TestChunkRepository,
} from './test-chunk-repository.ts'

const DAY_MS = 24 * 3_600_000
const DAYS = 30
const CHUNKS = 10
const settings = {
  packSizeBytes: 2 * CHUNKS * TEST_CHUNK_BYTES,
  protection: { mode: 'governance', days: DAYS },
} as const

async function makeScene() {
  const clock = createSleepingClock()
  const store = createMemoryStore({ clock })
  const made = await makeTestChunkRepository(lentStore(store), call())
  const until = () => new Date(generationEnd(generationOf(clock.now())).getTime() + DAYS * DAY_MS)
  return { clock, store, made, until }
}

function newDisk(): MemoryDisk {
  const content = seededBytes(4)(CHUNKS * TEST_CHUNK_BYTES)
  return createMemoryDisk({ sizeBytes: content.length, content })
}

async function backUpDisk(
  repository: Repository,
  source: MemoryDisk,
  { vmId, parent }: { readonly vmId: string; readonly parent?: SealedManifest },
): Promise<SealedManifest> {
  const base = parent === undefined ? {} : { parentRestorePointId: parent.manifest.restorePointId }
  const mode = parent === undefined ? 'full' : 'compare'
  const disks = [{ diskId: 'disk0', sizeBytes: source.sizeBytes, mode, source } as const]
  return await backUp(repository, { vmId, ...base, disks }, call())
}

/** Keys of all that the restore point needs, but for the keys of the repository. */
async function neededKeys(
  store: ObjectStore,
  made: TestChunkRepository,
  { manifest }: SealedManifest,
): Promise<string[]> {
  const all = (await Array.fromAsync(store.list('', call()))).flat().map(({ key }) => key)
  const own = all.filter((key) => key.includes(manifest.restorePointId))
  const setKey = own.find((key) => key.startsWith(prefixes.packSets)) ?? ''
  const place = parsePackSetKey(setKey)
  if (place === undefined) throw new Error('the restore point has a pack set')
  const { packs } = parsePackSet(await store.get(setKey, call()), place, made)
  return [...own, ...packs.map((pack) => packKey(pack))]
}

describe('a protected repository', () => {
  test('whoever deletes deletes nothing that a restore point needs, before the date that it names', async () => {
    const { clock, store, made, until } = await makeScene()
    await using repository = await made.open({ settings })
    const disk = newDisk()
    const sealed = await backUpDisk(repository, disk, { vmId: randomUUID() })
    expect(sealed.manifest.protectedUntil).toBe(until().toISOString())
    await clock.sleep(until().getTime() - clock.now().getTime() - 1000, call())
    const refused: string[] = []
    for (const { key } of (await Array.fromAsync(store.list('', call()))).flat()) {
      await store.delete(key, call()).catch(() => refused.push(key))
    }
    const needed = await neededKeys(store, made, sealed)
    expect(refused).toEqual(expect.arrayContaining([...needed, 'repo.json']))
    expect(refused.some((key) => key.startsWith(prefixes.keyFiles))).toBe(true)
    const restored = await restoreAll(repository, sealed.manifest.restorePointId, call())
    expect(sameBytes(restored.get('disk0'), disk.bytes)).toBe(true)
  })

  test('packs that a later generation reuses are retained longer before its restore point is sealed', async () => {
    const { clock, store, made, until } = await makeScene()
    await using repository = await made.open({ settings })
    const disk = newDisk()
    const vmId = randomUUID()
    const first = await backUpDisk(repository, disk, { vmId })
    await clock.sleep(10 * DAY_MS, call())
    await disk.write(0, new Uint8Array(TEST_CHUNK_BYTES).fill(1), call())
    const second = await backUpDisk(repository, disk, { vmId, parent: first })
    expect(second.manifest.protectedUntil).toBe(until().toISOString())
    expect(second.manifest.protectedUntil).not.toBe(first.manifest.protectedUntil)
    const shared = await neededKeys(store, made, first)
    const needed = await neededKeys(store, made, second)
    expect(needed.filter((key) => shared.includes(key))).toHaveLength(1)
    for (const key of needed) {
      expect((await store.immutability.findRetention(key, call()))?.retainUntil.getTime()).toBeGreaterThanOrEqual(
        until().getTime(),
      )
    }
  })

  test('a pack of which less than 40 % is needed is copied, not retained longer', async () => {
    const { clock, store, made } = await makeScene()
    await using repository = await made.open({ settings })
    const disk = newDisk()
    const vmId = randomUUID()
    const first = await backUpDisk(repository, disk, { vmId })
    const old = (await neededKeys(store, made, first)).filter((key) => key.startsWith(prefixes.packs))
    const before = await store.immutability.findRetention(old[0] ?? '', call())
    await clock.sleep(10 * DAY_MS, call())
    await disk.write(0, seededBytes(5)(7 * TEST_CHUNK_BYTES), call())
    const second = await backUpDisk(repository, disk, { vmId, parent: first })
    const needed = await neededKeys(store, made, second)
    expect(old.filter((key) => needed.includes(key))).toEqual([])
    expect(await store.immutability.findRetention(old[0] ?? '', call())).toEqual(before)
    for (const { manifest } of [first, second]) {
      expect((await restoreAll(repository, manifest.restorePointId, call())).has('disk0')).toBe(true)
    }
    const restored = await restoreAll(repository, second.manifest.restorePointId, call())
    expect(sameBytes(restored.get('disk0'), disk.bytes)).toBe(true)
  })

  test('where the store does not say that it keeps what it was told, no restore point is sealed', async () => {
    const { store, made } = await makeScene()
    const forgetful: ObjectStore = {
      ...(await lentStore(store)()),
      immutability: { ...store.immutability, findRetention: async () => undefined },
    }
    await using repository = await made.open({ store: forgetful, settings })
    const backing = backUpDisk(repository, newDisk(), { vmId: randomUUID() })
    await expect(backing).rejects.toMatchObject({ code: 'storage.retention_refused' })
    expect(await Array.fromAsync(repository.listRestorePoints({}, call()))).toEqual([])
  })

  test('a store that protects nothing refuses to be one', async () => {
    const { store, made } = await makeScene()
    const { immutability: _, ...plain } = await lentStore(store)()
    await using repository = await made.open({ store: plain, settings })
    const backing = backUpDisk(repository, newDisk(), { vmId: randomUUID() })
    await expect(backing).rejects.toMatchObject({ code: 'storage.unsupported' })
  })
})
