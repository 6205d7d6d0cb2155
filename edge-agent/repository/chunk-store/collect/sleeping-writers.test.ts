import { describe, expect, test } from 'vitest'
import { manifestKey, packKey, packSetKey, prefixes } from '../format/object-keys.ts'
import { protocolTimes } from '../protocol-times.ts'
import { sealInOrder, type SealSteps } from '../write/seal-in-order.ts'
import type { CollectionRules } from './collection-rules.ts'
import { ScriptedScene } from './model/scripted-scene.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const call = { signal: AbortSignal.timeout(60_000) }
const options = { sealMs: protocolTimes.sealMs, ...call }

/** A pack that was condemned when its writer had already looked for what is condemned, and stands still since. */
async function makeScene() {
  const scene = new ScriptedScene()
  const pack = await scene.putPack()
  scene.pass(24 * HOUR_MS)
  const point = scene.newPoint()
  const lease = await scene.takeLease(point)
  const steps: SealSteps<void> = {
    copyForward: async () => {
      await scene.collect()
      expect(await scene.keys(prefixes.condemnedLists)).toHaveLength(1)
      return false
    },
    putPackSet: async () => await scene.putSet(point, [pack]),
    putManifest: async () => await scene.putManifest(point),
    takeBack: async () => await scene.store.delete(manifestKey(point), call),
  }
  return { scene, pack, point, lease, steps }
}

/** @returns what is left of a restore point whose manifest was put in the last moment, by one who died then */
async function dieAfterManifest(rules: Partial<CollectionRules>): Promise<{ isThere: boolean; isWhole: boolean }> {
  const { scene, pack, point, lease, steps } = await makeScene()
  const dead = new Promise<void>(() => {})
  const put = Promise.withResolvers<void>()
  void sealInOrder(
    {
      ...steps,
      putManifest: async () => {
        scene.pass(25 * HOUR_MS)
        scene.hidden.add(manifestKey(point))
        await steps.putManifest(call)
        put.resolve()
        await dead
      },
    },
    { lease, ...options },
  )
  await put.promise
  scene.pass(MINUTE_MS)
  await scene.collect(rules)
  scene.pass(MINUTE_MS)
  await scene.collect(rules)
  scene.hidden.clear()
  for (let day = 0; day < 3; day += 1) {
    await scene.collect(rules)
    scene.pass(25 * HOUR_MS)
  }
  return { isThere: await scene.has(manifestKey(point)), isWhole: await scene.has(packKey(pack)) }
}

/** @returns what is left of a restore point whose manifest arrives when its writer has given up */
async function arriveLate(leaves: boolean): Promise<{ isThere: boolean; isWhole: boolean }> {
  const { scene, pack, point, lease, steps } = await makeScene()
  const held = leaves
    ? lease
    : {
        confirm: async () => await lease.confirm(call),
        deadline: () => lease.deadline(),
        leave: () => undefined,
      }
  const sealing = sealInOrder(
    {
      ...steps,
      putManifest: async () => {
        scene.pass(25 * HOUR_MS)
        throw new Error('no answer')
      },
    },
    { lease: held, ...options },
  )
  await expect(sealing).rejects.toThrow('no answer')
  await lease[Symbol.asyncDispose]()
  await scene.collect()
  // What was sent arrives now.
  scene.pass(MINUTE_MS)
  await steps.putManifest(call)
  for (let day = 0; day < 3; day += 1) {
    await scene.collect()
    scene.pass(25 * HOUR_MS)
  }
  return { isThere: await scene.has(manifestKey(point)), isWhole: await scene.has(packKey(pack)) }
}

/** Whoever was shut out is forgotten at once. */
const forgetful: Partial<CollectionRules> = { isRested: ({ fence }) => fence !== undefined }

describe('a writer that stood still for a day just before its manifest', () => {
  test('and died behind it: the restore point is whole, for nobody deletes before all can see what he sealed', async () => {
    expect(await dieAfterManifest({})).toEqual({ isThere: true, isWhole: true })
  })

  test('would lose it where whoever was shut out is forgotten at once', async () => {
    expect(await dieAfterManifest(forgetful)).toEqual({ isThere: true, isWhole: false })
  })

  test('whose manifest arrives after he gave up: it is whole, or is deleted like what never was sealed', async () => {
    const { isThere, isWhole } = await arriveLate(true)
    expect(isWhole || !isThere).toBe(true)
  })

  test('would leave a broken restore point where it had given its lease back', async () => {
    expect(await arriveLate(false)).toEqual({ isThere: true, isWhole: false })
  })

  test('is not told that it has sealed: the clock of the store did not stand still', async () => {
    const { scene, lease, steps, point } = await makeScene()
    const sealing = sealInOrder(
      {
        ...steps,
        putManifest: async () => {
          scene.pass(25 * HOUR_MS)
          await steps.putManifest(call)
        },
      },
      { lease, ...options },
    )
    await expect(sealing).rejects.toMatchObject({ code: 'repository.lease_lost' })
    expect(await scene.has(manifestKey(point))).toBe(false)
  })

  test('and whose manifest arrives when its packs are gone: the restore point is void, and goes as well', async () => {
    const { scene, pack, point, lease, steps } = await makeScene()
    await steps.putPackSet(call)
    lease.leave()
    for (let day = 0; day < 3; day += 1) {
      scene.pass(25 * HOUR_MS)
      await scene.collect()
    }
    expect(await scene.has(packKey(pack))).toBe(false)
    await steps.putManifest(call)
    const report = await scene.collect()
    expect(report).toMatchObject({ voidPoints: 1 })
    expect(await scene.has(manifestKey(point))).toBe(false)
    expect((await scene.collect()).stopped).toBeUndefined()
  })

  test('and whose pack set is gone though it sealed in time: nothing is deleted, for nobody knows what it needs', async () => {
    const { scene, pack, point, lease, steps } = await makeScene()
    await steps.copyForward(call)
    await steps.putPackSet(call)
    await steps.putManifest(call)
    lease.leave()
    for (let day = 0; day < 3; day += 1) {
      await scene.collect()
      scene.pass(25 * HOUR_MS)
    }
    await scene.store.delete(packSetKey({ ...point, revision: 0 }), call)
    const report = await scene.collect()
    expect(report).toMatchObject({ stopped: { code: 'repository.object_corrupt' }, deleted: { packs: 0 } })
    expect(await scene.has(packKey(pack))).toBe(true)
  })
})
