import { randomBytes, randomInt } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Repository } from '../repository.ts'
import { deleteSteps, sealSteps } from './chain-context.ts'
import { ChainScene, deadline, type ScenePoint } from './chain-scene.ts'
import { PowerCut } from './power-cut.ts'
import { folders } from './repository-layout.ts'
import { makeTemporaryRepository, type TemporaryRepository } from './temporary-repository.ts'

const DISK_BYTES = 512 * 1024

/** Keeps only what was synced; keeps all; and tosses for each name. */
const fates = [
  ['nothing that was not synced', () => false],
  ['every name, and content that was not synced torn', () => true],
  ['some of the names that were not synced', () => randomInt(2) === 1],
] as const

test.each(fates)(
  'a power cut at any step of deleting and merging, which leaves %s: every other point restores byte for byte',
  async (_what, choose) => {
    await using place = await makeTemporaryRepository(deadline())
    const scene = await sceneOfFour(place)
    const [, second, third] = scene.points
    if (second === undefined || third === undefined) throw new Error('four were taken')
    const others = scene.points.filter((point) => point !== second && point !== third)
    const steps = await cutAtEachStep(place, choose, async (repository) => {
      await scene.delete(repository, third)
      await scene.delete(repository, second)
    })
    expect(new Set(steps.map(({ step }) => step))).toEqual(new Set(deleteSteps))
    for (const { step, dir } of steps) {
      await using repository = await place.open({ dir })
      const listed = await Array.fromAsync(repository.listRestorePoints({}, deadline()))
      const ids = listed.map(({ manifest }) => manifest.restorePointId)
      const wanted = expect.arrayContaining(others.map(({ manifest }) => manifest.restorePointId))
      expect({ step, ids }).toEqual({ step, ids: wanted })
      const left = [...others, second, third].filter(({ manifest }) => ids.includes(manifest.restorePointId))
      await scene.expectRestorable(repository, left.toSorted(byTime))
      await using again = await place.open({ dir })
      for (const point of [second, third].filter((each) => left.includes(each))) await scene.delete(again, point)
      await scene.expectRestorable(again, others)
    }
  },
  120_000,
)

test.each(fates)(
  'a power cut at any step of sealing, which leaves %s: what is listed restores byte for byte',
  async (_what, choose) => {
    await using place = await makeTemporaryRepository(deadline())
    const scene = await sceneOfFour(place)
    const before = [...scene.points]
    const steps = await cutAtEachStep(place, choose, async (repository) => void (await takePoint(scene, repository)))
    expect(new Set(steps.map(({ step }) => step))).toEqual(new Set(sealSteps))
    for (const { step, dir } of steps) {
      await using repository = await place.open({ dir })
      const count = (await Array.fromAsync(repository.listRestorePoints({}, deadline()))).length
      const isSealed = step === 'manifest-durable' || (step === 'manifest-written' && count > before.length)
      await scene.expectRestorable(repository, isSealed ? scene.points : before)
    }
  },
  120_000,
)

interface CutStep {
  readonly step: string
  /** The repository as the power cut left it. */
  readonly dir: string
}

async function cutAtEachStep(
  place: TemporaryRepository,
  choose: () => boolean,
  work: (repository: Repository) => Promise<void>,
): Promise<CutStep[]> {
  using cut = await PowerCut.watch(place.dir)
  const steps: CutStep[] = []
  const crashPoint = (step: string): void => {
    const dir = join(place.dir, '..', `after-${steps.length}`)
    cut.leave(dir, choose)
    steps.push({ step, dir })
  }
  await using repository = await place.open({ crashPoint })
  await work(repository)
  // After a power cut the machine has another boot: locks are nobody's.
  for (const { dir } of steps) await rm(join(dir, folders.locks), { recursive: true, force: true })
  return steps
}

async function sceneOfFour(place: TemporaryRepository): Promise<ChainScene> {
  const scene = new ChainScene({ disk0: DISK_BYTES })
  await using repository = await place.open()
  for (let count = 0; count < 4; count += 1) await takePoint(scene, repository)
  return scene
}

async function takePoint(scene: ChainScene, repository: Repository): Promise<ScenePoint> {
  for (const disk of scene.disks.values()) {
    await disk.write(randomInt(disk.sizeBytes / 2), randomBytes(disk.sizeBytes / 2), deadline())
    await disk.writeZeroes(randomInt(disk.sizeBytes - 70_000), 70_000, deadline())
  }
  return await scene.take(repository)
}

function byTime(a: ScenePoint, b: ScenePoint): number {
  return a.manifest.takenAt < b.manifest.takenAt ? -1 : 1
}
