import { seededBytes, seededRandom } from '@sendense/shared/runtime/seeded-random.ts'
import { faultyStore } from '../../../../object-store/layers/faulty-store.ts'
import { createMemoryStore } from '../../../../object-store/memory/memory-store.ts'
import type { CallOptions, ObjectFacts, ObjectStore } from '../../../../object-store/object-store.ts'
import type { SealContext } from '../../format/object-context.ts'
import {
  packKey,
  type PackPlace,
  packSetKey,
  type PackSetPlace,
  parseLeaseKey,
  parseManifestKey,
  parsePackKey,
  parsePackSetKey,
} from '../../format/object-keys.ts'
import { fixedKeys, REPOSITORY_ID } from '../../format/test-repository.ts'
import type { ProtocolTimes } from '../../protocol-times.ts'
import { VirtualTime } from './virtual-time.ts'

const MINUTE_MS = 60_000
export const START_MS = Date.UTC(2030, 0, 1)

/** As tight as they may be, and short, so that much happens in few steps. */
export const modelTimes: ProtocolTimes = {
  heartbeatEveryMs: 6 * MINUTE_MS,
  leaseExpiryMs: 14 * MINUTE_MS,
  sealMs: 20 * MINUTE_MS,
  lateListingMs: 15 * MINUTE_MS,
  putMs: 5 * MINUTE_MS,
  graceMs: 52 * MINUTE_MS,
  clockSlackMs: MINUTE_MS,
  indexLastsMs: 20 * MINUTE_MS,
  tombstoneMs: 56 * MINUTE_MS,
}

export interface WorldFaults {
  /** Listings are late, up to the bound. */
  readonly lateListings: boolean
  /** Calls fail, and answers are lost. */
  readonly errors: boolean
  readonly tornPuts: boolean
}

/** What is known of a restore point, whatever is in the store. */
interface KnownPoint extends Omit<PackSetPlace, 'revision'> {
  readonly packs: readonly PackPlace[]
  /** Its writer was told that it is sealed. */
  isReported: boolean
  /** Somebody is deleting it. */
  isUnwanted: boolean
}

/** One store, the truth about it, and what went wrong. */
export class ModelWorld {
  readonly time = new VirtualTime(START_MS)
  readonly context: SealContext
  /** As others see it: late listings, lost answers. */
  readonly store: ObjectStore
  readonly trace: string[] = []
  readonly violations: string[] = []
  /** What the clock of the store is off. */
  storeOffsetMs = 0
  areFaultsOff = true
  readonly chunksOf = new Map<string, readonly number[]>()
  readonly #objects = new Map<string, ObjectFacts>()
  readonly #points = new Map<string, KnownPoint>()
  readonly #keyOf = new Map<string, string>()
  readonly #pointOfWriter = new Map<string, string>()
  readonly #fencedPoints = new Set<string>()
  readonly #lateManifests = new Set<string>()

  constructor(seed: number, faults: WorldFaults) {
    this.context = { repositoryId: REPOSITORY_ID, keys: fixedKeys(1), randomBytes: seededBytes(seed + 1) }
    const memory = createMemoryStore({ clock: { now: () => new Date(this.time.nowMs + this.storeOffsetMs) } })
    const maxMs = modelTimes.lateListingMs
    // Without faults all that is late has come.
    const delay = { maxMs, nowMs: () => this.time.nowMs + (this.areFaultsOff ? 2 * maxMs : 0) }
    const faulty = faultyStore(this.#watched(memory), {
      seed: seed + 2,
      ...(faults.lateListings ? { listingDelay: delay } : {}),
    })
    this.store = this.#failing(faulty, faults, seededRandom(seed + 3))
  }

  note(text: string): void {
    const minutes = ((this.time.nowMs - START_MS) / MINUTE_MS).toFixed(2)
    this.trace.push(`${minutes.padStart(9)} min  ${text}`)
  }

  violate(text: string): void {
    this.note(`VIOLATION: ${text}`)
    this.violations.push(text)
  }

  /** Who writes which restore point. */
  noteWriter(writerId: string, restorePointId: string): void {
    this.#pointOfWriter.set(writerId, restorePointId)
  }

  /** What a writer is about to seal. */
  expectPoint(point: Omit<PackSetPlace, 'revision'>, packs: readonly PackPlace[]): void {
    this.#points.set(point.restorePointId, { ...point, packs, isReported: false, isUnwanted: false })
  }

  reportSealed(restorePointId: string): void {
    const point = this.#points.get(restorePointId)
    if (point === undefined) return
    point.isReported = true
    if (!this.#keyOf.has(restorePointId) && !point.isUnwanted) {
      this.violate(`${short(restorePointId)} was reported as sealed and has no manifest`)
    }
    this.#expectWhole(restorePointId, 'it was reported as sealed')
  }

  /** Somebody is deleting it, on purpose. */
  giveUp(restorePointId: string): void {
    const point = this.#points.get(restorePointId)
    if (point !== undefined) point.isUnwanted = true
  }

  isUnwanted(restorePointId: string): boolean {
    return this.#points.get(restorePointId)?.isUnwanted ?? true
  }

  packsOf(restorePointId: string): readonly PackPlace[] {
    return this.#points.get(restorePointId)?.packs ?? []
  }

  /** Restore points of which a writer was told that they are sealed. */
  get reportedCount(): number {
    return [...this.#points.values()].filter(({ isReported }) => isReported).length
  }

  has(key: string): boolean {
    return this.#objects.has(key)
  }

  /** What is there and should not be, long after everybody has ended. */
  expectTidy(): void {
    const needed = new Set([...this.#keyOf.keys()].flatMap((id) => this.packsOf(id).map(({ packId }) => packId)))
    for (const key of this.#objects.keys()) {
      const pack = parsePackKey(key)
      if (pack !== undefined && !needed.has(pack.packId)) this.violate(`${key} is needed by nobody and still there`)
      const set = parsePackSetKey(key)
      if (set !== undefined && !this.#keyOf.has(set.restorePointId)) this.violate(`${key} has no restore point`)
      const lease = parseLeaseKey(key)
      if (lease !== undefined && !('fenced' in lease)) this.violate(`${key} is of nobody any more`)
    }
    for (const restorePointId of this.#keyOf.keys()) {
      if (!this.#isWhole(restorePointId)) this.violate(`${short(restorePointId)} is listed and cannot be read`)
    }
  }

  #watched(memory: ObjectStore): ObjectStore {
    const seen = async (key: string): Promise<void> => {
      const facts = await memory.find(key, { signal: never })
      if (facts === undefined) this.#objects.delete(key)
      else this.#objects.set(key, facts)
      this.#look(key, facts !== undefined)
    }
    return {
      description: memory.description,
      objectMaxBytes: memory.objectMaxBytes,
      put: async (key, body, options) => {
        await memory.put(key, body, options)
        await seen(key)
      },
      delete: async (key, options) => {
        const wasThere = this.#objects.has(key)
        await memory.delete(key, options)
        if (wasThere) await seen(key)
      },
      find: async (key, options) => await memory.find(key, options),
      get: async (key, options) => await memory.get(key, options),
      read: async (key, offsetBytes, into, options) => await memory.read(key, offsetBytes, into, options),
      list: (prefix, options) => memory.list(prefix, options),
      [Symbol.asyncDispose]: async () => await memory[Symbol.asyncDispose](),
    }
  }

  /** After each change: nothing that is sealed may have been broken by it. */
  #look(key: string, isThere: boolean): void {
    const manifest = parseManifestKey(key)
    if (!isThere || manifest !== undefined || key.startsWith('condemned/')) {
      if (!key.startsWith('leases/')) this.note(`${isThere ? 'there' : 'gone'}: ${shortKey(key)}`)
    }
    const lease = parseLeaseKey(key)
    if (lease !== undefined && 'fenced' in lease) this.#lookAtFence(lease.writerId, isThere)
    if (manifest !== undefined) this.#lookAtManifest(manifest.restorePointId, key, isThere)
    if (isThere || (parsePackKey(key) === undefined && parsePackSetKey(key) === undefined)) return
    for (const restorePointId of this.#keyOf.keys()) this.#expectWhole(restorePointId, `${shortKey(key)} was deleted`)
  }

  #lookAtFence(writerId: string, isThere: boolean): void {
    const restorePointId = this.#pointOfWriter.get(writerId) ?? ''
    if (isThere) this.#fencedPoints.add(restorePointId)
    else this.#fencedPoints.delete(restorePointId)
    this.note(`${isThere ? 'fenced' : 'fence taken away'}: the writer of ${short(restorePointId)}`)
  }

  #lookAtManifest(restorePointId: string, key: string, isThere: boolean): void {
    if (isThere) {
      this.#keyOf.set(restorePointId, key)
      if (this.#fencedPoints.has(restorePointId)) this.#lateManifests.add(restorePointId)
      this.#expectWhole(restorePointId, 'its manifest was put')
      return
    }
    this.#keyOf.delete(restorePointId)
    const point = this.#points.get(restorePointId)
    if (point?.isReported === true && !point.isUnwanted) this.violate(`${short(restorePointId)} was sealed and is gone`)
  }

  #expectWhole(restorePointId: string, why: string): void {
    if (!this.#keyOf.has(restorePointId) || this.#isWhole(restorePointId)) return
    const isReported = this.#points.get(restorePointId)?.isReported ?? false
    // Sealed after its writer was shut out, and its writer was not told that it is: it is void.
    if (this.#lateManifests.has(restorePointId) && !isReported) return
    this.violate(`${short(restorePointId)} cannot be read any more: ${why}`)
  }

  #isWhole(restorePointId: string): boolean {
    const point = this.#points.get(restorePointId)
    if (point === undefined || !this.has(packSetKey({ ...point, revision: 0 }))) return false
    return point.packs.every((pack) => this.has(packKey(pack)))
  }

  #failing(store: ObjectStore, faults: WorldFaults, random: () => number): ObjectStore {
    if (!faults.errors && !faults.tornPuts) return store
    const failing = faultyStore(store, {
      seed: Math.floor(random() * 2 ** 31),
      ...(faults.errors ? { errorRate: 0.01, lateErrorRate: 0.01 } : {}),
      ...(faults.tornPuts ? { tornPutRate: 0.01 } : {}),
    })
    const now = (): ObjectStore => (this.areFaultsOff ? store : failing)
    return {
      description: store.description,
      objectMaxBytes: store.objectMaxBytes,
      put: async (key, body, options) => await now().put(key, body, options),
      find: async (key, options) => await now().find(key, options),
      get: async (key, options) => await now().get(key, options),
      read: async (key, offsetBytes, into, options) => await now().read(key, offsetBytes, into, options),
      list: (prefix: string, options: CallOptions) => now().list(prefix, options),
      delete: async (key, options) => await now().delete(key, options),
      [Symbol.asyncDispose]: async () => await store[Symbol.asyncDispose](),
    }
  }
}

export const never = new AbortController().signal

export function short(id: string): string {
  return id.slice(0, 8)
}

function shortKey(key: string): string {
  return key.replaceAll(/([0-9a-f]{8})[0-9a-f-]{24,}/g, '$1')
}
