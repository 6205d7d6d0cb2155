import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { parseCondemnedList } from '../../format/condemned-list.ts'
import { sealJson } from '../../format/object-context.ts'
import {
  condemnedListKey,
  manifestKey,
  packKey,
  type PackPlace,
  packSetKey,
  parseCondemnedListKey,
  parseManifestKey,
  parsePackKey,
  prefixes,
} from '../../format/object-keys.ts'
import { encodePackSet, parsePackSet } from '../../format/pack-set.ts'
import { objectKinds } from '../../format/sealed-object.ts'
import { WriterLease } from '../../lease/writer-lease.ts'
import { type SealSteps, sealInOrder } from '../../write/seal-in-order.ts'
import { listObjects } from '../list-objects.ts'
import type { ModelProcess } from './model-process.ts'
import { modelTimes, type ModelWorld, never, short } from './model-world.ts'

const MINUTE_MS = 60_000
export const CHUNK_COUNT = 5
const GENERATION = 1
/** About so often may something happen to it while it seals. */
const SEAL_STEPS = 30
/** And while it puts its manifest and proves its lease again. */
const MANIFEST_STEPS = 5
const call = { signal: never }

/** How a writer that has a fault goes about sealing. */
export interface WriterMutation {
  readonly lease?: (lease: SealLease) => SealLease
  readonly steps?: (steps: SealSteps<void>) => SealSteps<void>
}
type SealLease = Pick<WriterLease, 'confirm' | 'deadline' | 'leave'>

/** Writes one restore point as a backup does, with chunks that are numbers. */
export async function writePoint(world: ModelWorld, process: ModelProcess, mutation: WriterMutation): Promise<void> {
  const point = { vmId: process.newId(), restorePointId: process.newId() }
  const lease = await WriterLease.take({
    store: process.store,
    context: world.context,
    agentId: process.newId(),
    ...point,
    generationOf: () => GENERATION,
    clock: process.clock,
    nowMs: process.nowMs,
    newId: process.newId,
    machine: process.machine,
    times: modelTimes,
    signal: never,
  })
  world.noteWriter(lease.writerId, point.restorePointId)
  process.note(`writes ${short(point.restorePointId)}`)
  const session = new ModelSession(world, process, point)
  try {
    await session.open()
    await session.store(lease)
    if (process.random() < 0.5) process.planAccident(SEAL_STEPS)
    const options = { lease: mutation.lease?.(lease) ?? lease, sealMs: modelTimes.sealMs, signal: lease.lost }
    const steps = session.steps()
    await sealInOrder(mutation.steps?.(steps) ?? steps, { ...options, signal: never })
    world.reportSealed(point.restorePointId)
    process.note(`has sealed ${short(point.restorePointId)}`)
  } catch (error) {
    process.note(`could not seal ${short(point.restorePointId)}: ${String(error)}`)
    session.expectExcusable(error)
  } finally {
    process.accident = undefined
    await lease[Symbol.asyncDispose]()
  }
}

class ModelSession {
  readonly #world: ModelWorld
  readonly #process: ModelProcess
  readonly #point: { readonly vmId: string; readonly restorePointId: string }
  readonly #condemned = new Set<string>()
  readonly #listsRead = new Set<string>()
  readonly #targets = new Map<string, PackPlace>()
  readonly #inherited = new Map<string, PackPlace>()
  /** Where each chunk of the restore point is. */
  readonly #chunks = new Map<number, PackPlace>()
  #parentId: string | undefined
  #lostPack: PackPlace | undefined

  constructor(world: ModelWorld, process: ModelProcess, point: { vmId: string; restorePointId: string }) {
    this.#world = world
    this.#process = process
    this.#point = point
  }

  /** Reads what there is: condemned lists before packs, and perhaps a parent. */
  async open(): Promise<void> {
    const { store, random } = this.#process
    await this.#readLists()
    for await (const { key } of listObjects(store, prefixes.packs, call)) {
      const place = parsePackKey(key)
      if (place !== undefined && !this.#condemned.has(place.packId)) this.#targets.set(place.packId, place)
    }
    if (random() < 0.5) await this.#readParent()
  }

  /** Stores some chunks, for some time. */
  async store(lease: WriterLease): Promise<void> {
    const { random, clock } = this.#process
    const below = (count: number): number => this.#process.below(count)
    const wanted = new Set(Array.from({ length: 1 + below(4) }, () => below(CHUNK_COUNT)))
    const longMs = random() < 0.3 ? 70 * MINUTE_MS : 6 * MINUTE_MS
    const fresh: number[] = []
    for (const chunk of wanted) {
      await clock.sleep((random() * longMs) / wanted.size, { signal: lease.lost })
      const known = this.#find(chunk, this.#targets) ?? this.#find(chunk, this.#inherited)
      if (known === undefined) fresh.push(chunk)
      else this.#chunks.set(chunk, known)
    }
    for (const chunk of fresh) await this.#putPack([chunk])
    await clock.sleep(random() * longMs, { signal: lease.lost })
  }

  steps(): SealSteps<void> {
    const { store, newId } = this.#process
    const { context } = this.#world
    const takenAt = new Date(this.#world.time.nowMs).toISOString()
    const manifest = manifestKey({ ...this.#point, takenAt })
    const set = () => ({ ...this.#point, revision: 0, packs: [...this.#packs().values()] })
    return {
      copyForward: async () => await this.#copyForward(),
      putPackSet: async (options) => {
        this.#world.expectPoint(this.#point, set().packs)
        await store.put(packSetKey(set()), encodePackSet(set(), context), options)
      },
      putManifest: async (options) => {
        if (this.#process.accident === undefined) this.#process.planAccident(MANIFEST_STEPS)
        const place = { kind: objectKinds.manifest, objectKey: manifest }
        await store.put(manifest, sealJson(place, { id: newId() }, context), options)
      },
      takeBack: async () => {
        this.#world.giveUp(this.#point.restorePointId)
        await store.delete(manifest, call)
      },
    }
  }

  /** A writer that was not disturbed finds what it wants to copy: nothing is deleted under it. */
  expectExcusable(error: unknown): void {
    if (!isPlatformError(error, 'storage.not_found') || this.#process.wasDisturbed) return
    const { packId } = this.#lostPack ?? {}
    if (packId === undefined) return
    // The parent that it was to be read from was deleted meanwhile: what it alone needed may go.
    const isParents = this.#parentId !== undefined && this.#inherited.has(packId)
    if (isParents && this.#world.isUnwanted(this.#parentId ?? '')) return
    this.#world.violate(`pack ${short(packId)} was deleted under the writer of ${short(this.#point.restorePointId)}`)
  }

  async #readParent(): Promise<void> {
    const { store } = this.#process
    const points = []
    for await (const { key } of listObjects(store, prefixes.manifests, call)) points.push(parseManifestKey(key))
    const parent = points[this.#process.below(points.length)]
    if (parent === undefined) return
    const place = { ...parent, revision: 0 }
    const bytes = await store.get(packSetKey(place), call)
    this.#parentId = parent.restorePointId
    for (const pack of parsePackSet(bytes, place, this.#world.context).packs) this.#inherited.set(pack.packId, pack)
  }

  async #readLists(): Promise<void> {
    const { store } = this.#process
    for await (const { key } of listObjects(store, prefixes.condemnedLists, call)) {
      const place = parseCondemnedListKey(key)
      if (place === undefined || this.#listsRead.has(key)) continue
      try {
        const list = parseCondemnedList(
          await store.get(condemnedListKey(place.runId), call),
          place,
          this.#world.context,
        )
        for (const { packId } of list.packs) this.#condemned.add(packId)
        this.#listsRead.add(key)
      } catch (error) {
        if (!isPlatformError(error, 'storage.not_found')) throw error
      }
    }
  }

  async #copyForward(): Promise<boolean> {
    await this.#readLists()
    const bad = [...this.#chunks].filter(([, { packId }]) => this.#condemned.has(packId))
    for (const [, pack] of bad) {
      this.#lostPack = pack
      await this.#process.store.get(packKey(pack), call)
      this.#lostPack = undefined
    }
    await this.#putPack(bad.map(([chunk]) => chunk))
    return bad.length > 0
  }

  async #putPack(chunks: readonly number[]): Promise<void> {
    if (chunks.length === 0) return
    const pack = { packId: this.#process.newPackId(), generation: GENERATION }
    this.#world.chunksOf.set(pack.packId, chunks)
    await this.#process.store.put(packKey(pack), Buffer.from(JSON.stringify(chunks)), call)
    for (const chunk of chunks) this.#chunks.set(chunk, pack)
  }

  #find(chunk: number, packs: ReadonlyMap<string, PackPlace>): PackPlace | undefined {
    for (const [packId, pack] of packs) if (this.#world.chunksOf.get(packId)?.includes(chunk) === true) return pack
    return undefined
  }

  #packs(): Map<string, PackPlace> {
    return new Map([...this.#chunks.values()].map((pack) => [pack.packId, pack]))
  }
}
