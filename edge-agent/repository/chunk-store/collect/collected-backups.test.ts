import { randomUUID } from 'node:crypto'
import { seededBytes } from '@sendense/shared/runtime/seeded-random.ts'
import { describe, expect, test } from 'vitest'
import { createMemoryDisk, type MemoryDisk } from '../../../block/memory-disk.ts'
import { createMemoryStore } from '../../../object-store/memory/memory-store.ts'
import { createSleepingClock } from '../../../object-store/sleeping-clock.ts'
import {
  backUp,
  copyInto,
  newBackupOf,
  restoreAll,
  type ScenarioBackup,
  sealFactsOf,
} from '../../repository-scenario.ts'
import { call, sameBytes } from '../../scenario-guest.ts'
import type { ChunkRepository } from '../chunk-repository.ts'
import { encodeCondemnedList } from '../format/condemned-list.ts'
import { parseIndexDelta } from '../format/index-delta.ts'
import { condemnedListKey, packSetKey, parseIndexDeltaKey, parsePackKey, prefixes } from '../format/object-keys.ts'
import { parsePackSet } from '../format/pack-set.ts'
import { createMemoryPackCatalogue } from '../index/memory-pack-catalogue.ts'
import type { Machine } from '../lease/this-machine.ts'
import { lentStore, makeTestChunkRepository, TEST_CHUNK_BYTES } from '../test-chunk-repository.ts'

const HOUR_MS = 3_600_000
const DISK_BYTES = 12 * TEST_CHUNK_BYTES

async function makeScene() {
  const clock = createSleepingClock()
  const store = createMemoryStore({ clock })
  const made = await makeTestChunkRepository(lentStore(store), call())
  const holder = { host: 'here', bootId: randomUUID(), pid: 1, startTicks: '1' }
  const beganMs = clock.now().getTime()
  const machine: Machine = {
    holder,
    readClocks: () => {
      const wallMs = clock.now().getTime()
      return { wallMs, bootId: holder.bootId, upMs: wallMs - beganMs }
    },
  }
  const context = { repositoryId: made.repositoryId, keys: made.keys, randomBytes: seededBytes(3) }
  const packIds = async () =>
    (await Array.fromAsync(store.list(prefixes.packs, call()))).flat().flatMap(({ key }) => parsePackKey(key) ?? [])
  const later = async (hours: number) => await clock.sleep(hours * HOUR_MS, call())
  const collect = async (repository: ChunkRepository) => await repository.collect({ machine, ...call() })
  return { clock, store, made, machine, context, packIds, later, collect }
}

function diskOf(...seeds: number[]): MemoryDisk {
  const content = Buffer.concat(seeds.map((seed) => seededBytes(seed)(DISK_BYTES / seeds.length)))
  return createMemoryDisk({ sizeBytes: DISK_BYTES, content })
}

function fullOf(source: MemoryDisk): ScenarioBackup {
  return { vmId: randomUUID(), disks: [{ diskId: 'disk0', sizeBytes: DISK_BYTES, mode: 'full', source }] }
}

async function expectRestores(repository: ChunkRepository, restorePointId: string, source: MemoryDisk): Promise<void> {
  const restored = await restoreAll(repository, restorePointId, call())
  expect(sameBytes(restored.get('disk0'), source.bytes)).toBe(true)
}

describe('backups beside collections', () => {
  test('what only a deleted restore point needed goes, all others restore, and no index names what is gone', async () => {
    const { store, made, context, packIds, later, collect } = await makeScene()
    await using repository = await made.open()
    const kept = diskOf(1, 2)
    const gone = await backUp(repository, fullOf(diskOf(3, 4)), call())
    const stays = await backUp(repository, fullOf(kept), call())
    await later(3)
    expect(await collect(repository)).toMatchObject({ condemned: { packs: 0 }, restorePoints: 2 })
    await repository.deleteRestorePoint(gone.manifest.restorePointId, call())
    const before = await packIds()
    const first = await collect(repository)
    expect(first.condemned.packs).toBeGreaterThan(0)
    await later(25)
    const second = await collect(repository)
    expect(second).toMatchObject({ deleted: first.condemned, indexesReplaced: 1 })
    expect(await packIds()).toHaveLength(before.length - first.condemned.packs)
    const left = new Set((await packIds()).map(({ packId }) => packId))
    for (const { key } of (await Array.fromAsync(store.list(prefixes.indexDeltas, call()))).flat()) {
      const place = parseIndexDeltaKey(key)
      if (place === undefined) throw new Error(`${key} is no index`)
      const { packs } = parseIndexDelta(await store.get(key, call()), place, context)
      expect(packs.filter(({ packId }) => !left.has(packId))).toEqual([])
    }
    await using again = await made.open({ catalogue: createMemoryPackCatalogue() })
    await expectRestores(again, stays.manifest.restorePointId, kept)
    const twin = await backUp(again, fullOf(kept), call())
    expect(twin.manifest.disks[0]?.storedBytes).toBe(0)
    const back = diskOf(3, 4)
    const stored = await backUp(repository, fullOf(back), call())
    await expectRestores(again, stored.manifest.restorePointId, back)
  })

  test('a backup under way keeps what it may refer to; it does not refer to what was condemned meanwhile', async () => {
    const { clock, made, machine, packIds, collect } = await makeScene()
    await using repository = await made.open({ clock: { now: () => clock.now(), sleep: untilAborted }, nowMs: () => 0 })
    const disk = diskOf(1, 2)
    const first = await backUp(repository, fullOf(disk), call())
    await clock.sleep(3 * HOUR_MS, call())
    const backup = fullOf(disk)
    const asked = newBackupOf(backup)
    await using writer = await repository.openBackup(asked, call())
    const copied = await copyInto(repository, writer, backup, call())
    await repository.deleteRestorePoint(first.manifest.restorePointId, call())
    const old = await packIds()
    expect((await repository.collect({ machine, ...call() })).condemned.packs).toBe(old.length)
    const { manifest } = await writer.seal(sealFactsOf(asked, { takenAt: clock.now(), copied }), call())
    await writer[Symbol.asyncDispose]()
    await clock.sleep(25 * HOUR_MS, call())
    expect(await collect(repository)).toMatchObject({ deleted: { packs: old.length }, spared: { packs: 0 } })
    await expectRestores(repository, manifest.restorePointId, disk)
  })

  test('what a parent has in condemned packs is stored again: it would go with the parent', async () => {
    const { store, made, machine, context, packIds, later, collect } = await makeScene()
    await using repository = await made.open()
    const disk = diskOf(5)
    const vmId = randomUUID()
    const parent = await backUp(repository, { ...fullOf(disk), vmId }, call())
    const old = await packIds()
    const list = { runId: randomUUID(), condemnedAt: new Date(), clocks: machine.readClocks(), packs: old }
    await store.put(condemnedListKey(list.runId), encodeCondemnedList(list, context), call())
    const child = await backUp(
      repository,
      {
        vmId,
        parentRestorePointId: parent.manifest.restorePointId,
        disks: [{ diskId: 'disk0', sizeBytes: DISK_BYTES, mode: 'compare', source: disk }],
      },
      call(),
    )
    const place = { vmId, restorePointId: child.manifest.restorePointId, revision: 0 }
    const { packs } = parsePackSet(await store.get(packSetKey(place), call()), place, context)
    expect(packs.filter(({ packId }) => old.some((one) => one.packId === packId))).toEqual([])
    await repository.deleteRestorePoint(parent.manifest.restorePointId, call())
    await later(25)
    expect(await collect(repository)).toMatchObject({ deleted: { packs: old.length } })
    await expectRestores(repository, child.manifest.restorePointId, disk)
  })
})

async function untilAborted(_milliseconds: number, { signal }: { signal: AbortSignal }): Promise<void> {
  await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
}
