import { randomInt } from 'node:crypto'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { backUp } from '../repository-scenario.ts'
import { ChainScene, deadline, SealedFiles } from './chain-scene.ts'
import { isWorthMerging } from './merge-plan.ts'
import { folders } from './repository-layout.ts'
import { makeTemporaryRepository } from './temporary-repository.ts'

const CLUSTER_BYTES = 64 * 1024
/** With a short last cluster. */
const SIZES = { disk0: 24 * CLUSTER_BYTES + 3 * 512, disk1: 5 * CLUSTER_BYTES }

interface Change {
  readonly diskId: 'disk0' | 'disk1'
  readonly first: number
  readonly count: number
  readonly fill: number
  /** Not at a cluster's start. */
  readonly shiftBytes: number
}

interface Round {
  readonly changes: readonly Change[]
  /** Of the points that exist then; the newest where it is 0. */
  readonly parent: number
  readonly deletions: readonly number[]
}

test('points deleted in any order, from chains with branches: all others restore byte for byte, nothing is changed in place, nothing is left over', async () => {
  const seed = randomInt(2 ** 31 - 1)
  console.info(`seed ${seed}`)
  const rounds = fc.array(anyRound(), { minLength: 5, maxLength: 9 })
  await fc.assert(fc.asyncProperty(rounds, fc.array(fc.nat(), { minLength: 9, maxLength: 9 }), survivesDeletions), {
    seed,
    numRuns: 4,
    endOnFailure: true,
  })
}, 120_000)

test('a point that comes back under the id of a deleted one leaves the layers that others stand on alone', async () => {
  await using place = await makeTemporaryRepository(deadline())
  await using repository = await place.open()
  const scene = new ChainScene(SIZES)
  const disk = scene.disks.get('disk0')
  await disk?.write(0, new Uint8Array(20 * CLUSTER_BYTES).fill(1), deadline())
  const first = await scene.take(repository)
  await disk?.write(0, new Uint8Array(CLUSTER_BYTES).fill(2), deadline())
  await scene.take(repository)
  await scene.delete(repository, first)
  const { restorePointId } = first.manifest
  const source = createMemoryDisk({ sizeBytes: SIZES.disk0 })
  const disks = [{ diskId: 'disk0', sizeBytes: SIZES.disk0, mode: 'full', source } as const]
  await backUp(repository, { vmId: scene.vmId, restorePointId, disks }, deadline())
  await repository.deleteRestorePoint(restorePointId, deadline())
  await expect(scene.expectRestorable(repository)).resolves.toBeUndefined()
})

async function survivesDeletions(rounds: readonly Round[], lastOrder: readonly number[]): Promise<void> {
  await using place = await makeTemporaryRepository(deadline())
  await using repository = await place.open()
  const scene = new ChainScene(SIZES)
  const files = new SealedFiles(place.dir)
  const drop = async (index: number): Promise<void> => {
    const point = scene.points[index % scene.points.length]
    if (point !== undefined) await scene.delete(repository, point)
    await scene.expectRestorable(repository)
    await files.expectUnchanged()
    await expectNoMoreThanNeeded(place.dir, scene)
  }
  for (const { changes, parent, deletions } of rounds) {
    for (const change of changes) await apply(scene, change)
    await scene.take(repository, scene.points.at(-1 - (parent % Math.max(1, scene.points.length))))
    await files.expectUnchanged()
    for (const index of deletions) await drop(index)
  }
  for (const index of lastOrder) await drop(index)
  while (scene.points.length > 0) await drop(0)
  for (const diskId of Object.keys(SIZES)) expect(await scene.layerNames(place.dir, diskId)).toEqual([])
}

/** A chain of one point has more layers only where merging them would free little. */
async function expectNoMoreThanNeeded(dir: string, scene: ChainScene): Promise<void> {
  expect(await readdir(join(dir, folders.partial))).toEqual([])
  const places = await readdir(join(dir, folders.placements, scene.vmId)).catch(() => [])
  expect(places.length).toBeLessThanOrEqual(scene.points.length)
  for (const diskId of Object.keys(SIZES)) {
    const layers = await scene.layerNames(dir, diskId)
    if (scene.points.length !== 1 || layers.length === 1) continue
    const folder = join(dir, folders.layers, scene.vmId, diskId)
    const sizesBytes = await Promise.all(layers.map(async (name) => (await stat(join(folder, name))).blocks * 512))
    expect({ sizesBytes, worth: isWorthMerging(sizesBytes) }).toEqual({ sizesBytes, worth: false })
  }
}

async function apply(scene: ChainScene, { diskId, first, count, fill, shiftBytes }: Change): Promise<void> {
  const disk = scene.disks.get(diskId)
  if (disk === undefined) return
  const start = Math.min(first * CLUSTER_BYTES + shiftBytes, disk.sizeBytes - 512)
  const length = Math.min(count * CLUSTER_BYTES, disk.sizeBytes - start)
  if (fill === 0) return await disk.writeZeroes(start, length, deadline())
  const bytes = Uint8Array.from({ length }, (_, index) => (fill * (1 + (index % 251))) & 0xff)
  await disk.write(start, bytes, deadline())
}

function anyRound(): fc.Arbitrary<Round> {
  const change = fc.record({
    diskId: fc.constantFrom('disk0' as const, 'disk0' as const, 'disk1' as const),
    first: fc.nat(24),
    count: fc.integer({ min: 1, max: 9 }),
    fill: fc.nat(4),
    shiftBytes: fc.constantFrom(0, 0, 512, 4096, 33 * 1024),
  })
  return fc.record({
    changes: fc.array(change, { minLength: 1, maxLength: 5 }),
    parent: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(4) }),
    deletions: fc.array(fc.nat(), { maxLength: 2 }),
  })
}

test('a full chain becomes one layer that reads the same, again and again; its older points keep theirs', async () => {
  await using place = await makeTemporaryRepository(deadline())
  await using repository = await place.open({ chainLayersMax: 3 })
  const scene = new ChainScene(SIZES)
  const files = new SealedFiles(place.dir)
  for (let round = 0; round < 8; round += 1) {
    await apply(scene, { diskId: 'disk0', first: round * 2, count: 3, fill: (round % 4) + 1, shiftBytes: 0 })
    await apply(scene, { diskId: 'disk1', first: round % 4, count: 1, fill: round % 2, shiftBytes: 0 })
    const { manifest } = await scene.take(repository)
    if (await repository.isChainFull(manifest.restorePointId, deadline())) {
      await repository.chainCare?.shorten(manifest.restorePointId, deadline())
    }
    expect(await repository.isChainFull(manifest.restorePointId, deadline())).toBe(false)
    await files.expectUnchanged()
  }
  await scene.expectRestorable(repository)
  await scene.expectRestorable(await place.open())
})
