import { sealJson } from '../../format/object-context.ts'
import { manifestKey, packKey, packSetKey } from '../../format/object-keys.ts'
import { encodePackSet } from '../../format/pack-set.ts'
import { objectKinds } from '../../format/sealed-object.ts'
import type { ModelProcess } from './model-process.ts'
import { type ModelWorld, never, START_MS } from './model-world.ts'

const PACKS = 10
const POINTS = 7
const call = { signal: never }

/** What was in the repository before: packs that nobody in the model wrote, restore points that share them, and garbage. */
export async function putOldPoints(world: ModelWorld, process: ModelProcess, chunkCount: number): Promise<void> {
  const packs = Array.from({ length: PACKS }, () => ({ packId: process.newPackId(), generation: 1 }))
  for (const [index, pack] of packs.entries()) {
    world.chunksOf.set(pack.packId, [index % chunkCount])
    await world.store.put(packKey(pack), Buffer.from([index]), call)
  }
  for (let index = 0; index < POINTS; index += 1) {
    const point = { vmId: process.newId(), restorePointId: process.newId(), revision: 0 }
    const needed = new Map(packs.filter(() => process.random() < 0.25).map((pack) => [pack.packId, pack]))
    const set = { ...point, packs: [...needed.values()] }
    const manifest = manifestKey({ ...point, takenAt: new Date(START_MS).toISOString() })
    world.expectPoint(point, set.packs)
    await world.store.put(packSetKey(set), encodePackSet(set, world.context), call)
    const place = { kind: objectKinds.manifest, objectKey: manifest }
    await world.store.put(manifest, sealJson(place, {}, world.context), call)
    world.reportSealed(point.restorePointId)
  }
}
