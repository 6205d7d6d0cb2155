import { seededBytes } from '@sendense/shared/runtime/seeded-random.ts'
import { createMemoryStore } from '../../../../object-store/memory/memory-store.ts'
import type { ListOptions, ObjectFacts, ObjectStore } from '../../../../object-store/object-store.ts'
import { uuidFromBytes } from '../../format/identity-bytes.ts'
import { sealJson, type SealContext } from '../../format/object-context.ts'
import { manifestKey, type ManifestPlace, packKey, type PackPlace, packSetKey } from '../../format/object-keys.ts'
import { encodePackSet } from '../../format/pack-set.ts'
import { objectKinds } from '../../format/sealed-object.ts'
import { fixedKeys, REPOSITORY_ID } from '../../format/test-repository.ts'
import type { Machine } from '../../lease/this-machine.ts'
import { WriterLease } from '../../lease/writer-lease.ts'
import { protocolTimes } from '../../protocol-times.ts'
import { type CollectOptions, collectRepository } from '../collect-repository.ts'
import { type CollectionRules, collectionRules } from '../collection-rules.ts'

const START_MS = Date.UTC(2030, 0, 1)
const BOOT_ID = '5f2c0a4e-1b7d-4c3a-9e8f-2a6b4d1c0e9f'
const call = { signal: AbortSignal.timeout(60_000) }

/** For tests: a repository in memory whose time the test sets, and whose listings hide what the test says. */
export class ScriptedScene {
  nowMs = START_MS
  /** What the clock of the machine is off. */
  wallOffsetMs = 0
  /** Beginnings of keys that listings do not show yet. */
  readonly hidden = new Set<string>()
  readonly store: ObjectStore
  readonly context: SealContext = { repositoryId: REPOSITORY_ID, keys: fixedKeys(1), randomBytes: seededBytes(1) }
  readonly machine: Machine = {
    holder: { host: 'here', machineId: 'here', bootId: BOOT_ID, pid: 1, startTicks: '1' },
    readClocks: () => ({ wallMs: this.nowMs + this.wallOffsetMs, bootId: BOOT_ID, upMs: this.nowMs - START_MS }),
  }
  readonly #bytes = seededBytes(2)

  constructor() {
    const memory = createMemoryStore({ clock: { now: () => new Date(this.nowMs) } })
    const list = (prefix: string, options: ListOptions) => this.#shown(memory.list(prefix, options))
    this.store = {
      description: memory.description,
      objectMaxBytes: memory.objectMaxBytes,
      immutability: memory.immutability,
      put: async (key, body, options) => await memory.put(key, body, options),
      find: async (key, options) => await memory.find(key, options),
      get: async (key, options) => await memory.get(key, options),
      read: async (key, offsetBytes, into, options) => await memory.read(key, offsetBytes, into, options),
      list,
      delete: async (key, options) => await memory.delete(key, options),
      [Symbol.asyncDispose]: async () => {},
    }
  }

  pass(milliseconds: number): void {
    this.nowMs += milliseconds
  }

  newId = (): string => uuidFromBytes(this.#bytes(16)).replace(/^(.{14}).(.{4})./, '$14$28')

  async putPack(): Promise<PackPlace> {
    const pack = { packId: Buffer.from(this.#bytes(20)).toString('hex'), generation: 1 }
    await this.store.put(packKey(pack), Buffer.from('chunks'), call)
    return pack
  }

  newPoint(): ManifestPlace {
    return { vmId: this.newId(), restorePointId: this.newId(), takenAt: new Date(this.nowMs).toISOString() }
  }

  async putSet(point: ManifestPlace, packs: readonly PackPlace[]): Promise<void> {
    const set = { vmId: point.vmId, restorePointId: point.restorePointId, revision: 0, packs }
    await this.store.put(packSetKey(set), encodePackSet(set, this.context), call)
  }

  async putManifest(point: ManifestPlace): Promise<void> {
    const place = { kind: objectKinds.manifest, objectKey: manifestKey(point) }
    await this.store.put(place.objectKey, sealJson(place, {}, this.context), call)
  }

  async putPoint(packs: readonly PackPlace[]): Promise<ManifestPlace> {
    const point = this.newPoint()
    await this.putSet(point, packs)
    await this.putManifest(point)
    return point
  }

  /** A lease whose heartbeats come only where the test asks for them. */
  async takeLease({ vmId, restorePointId }: ManifestPlace): Promise<WriterLease> {
    return await WriterLease.take({
      store: this.store,
      context: this.context,
      agentId: this.newId(),
      vmId,
      restorePointId,
      ...call,
      generationOf: () => 1,
      nowMs: () => this.nowMs,
      newId: this.newId,
      machine: this.machine,
      clock: {
        now: () => new Date(this.nowMs),
        sleep: async (_milliseconds, { signal }) =>
          await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      },
    })
  }

  async collect(rules: Partial<CollectionRules> = {}, options: Partial<CollectOptions> = {}) {
    return await collectRepository({
      store: this.store,
      context: this.context,
      agentId: this.newId(),
      machine: this.machine,
      newId: this.newId,
      rules: { ...collectionRules, ...rules },
      times: protocolTimes,
      ...call,
      ...options,
    })
  }

  async has(key: string): Promise<boolean> {
    return (await this.store.find(key, call)) !== undefined
  }

  async keys(prefix: string): Promise<string[]> {
    return (await Array.fromAsync(this.store.list(prefix, call))).flat().map(({ key }) => key)
  }

  async *#shown(pages: AsyncIterable<readonly ObjectFacts[]>): AsyncGenerator<readonly ObjectFacts[]> {
    for await (const page of pages) {
      const shown = page.filter(({ key }) => ![...this.hidden].some((prefix) => key.startsWith(prefix)))
      if (shown.length > 0) yield shown
    }
  }
}
