import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { bodySizeBytes, expectBody, expectInObject, wholeBody } from '../object-body.ts'
import { expectObjectKey, expectObjectPrefix } from '../object-key.ts'
import type {
  CallOptions,
  ObjectBody,
  ObjectFacts,
  ObjectImmutability,
  ObjectStore,
  ObjectTier,
  ObjectTierFacts,
  ObjectTiers,
  PutOptions,
  Retention,
} from '../object-store.ts'
import { expectDeletable, expectLonger } from '../retention-rule.ts'

const OBJECT_MAX_BYTES = 1024 * 1024 * 1024
const PAGE_MAX_DEFAULT = 1000

export interface MemoryStoreOptions {
  readonly clock?: Pick<Clock, 'now'>
  /** Objects a page of a listing has at most. Default 1000. */
  readonly pageMax?: number
  readonly objectMaxBytes?: number
}

interface StoredObject {
  readonly bytes: Uint8Array
  readonly modifiedAt: Date
  retention?: Retention
  legalHold: boolean
  tier: ObjectTier
  rehydratingTo?: 'hot' | 'cool'
}

/** Objects in memory, with immutability and tiers; each put and delete takes effect in one step. */
export class MemoryStore implements ObjectStore {
  readonly description = 'memory'
  readonly objectMaxBytes: number
  readonly immutability: ObjectImmutability
  readonly tiers: ObjectTiers
  readonly #objects = new Map<string, StoredObject>()
  /** How many objects there are below a folder. */
  readonly #folders = new Map<string, number>()
  readonly #clock: Pick<Clock, 'now'>
  readonly #pageMax: number

  constructor({ clock = systemClock, pageMax = PAGE_MAX_DEFAULT, objectMaxBytes }: MemoryStoreOptions = {}) {
    this.objectMaxBytes = objectMaxBytes ?? OBJECT_MAX_BYTES
    this.#clock = clock
    this.#pageMax = pageMax
    this.immutability = {
      put: async (key, body, options) => await this.#put(key, body, options),
      setRetention: async (key, retention, options) => {
        const object = this.#expect(key, options)
        expectLonger(key, object.retention, retention, this.#clock.now())
        object.retention = retention
      },
      findRetention: async (key, options) => this.#expect(key, options).retention,
      setLegalHold: async (key, held, options) => {
        this.#expect(key, options).legalHold = held
      },
      hasLegalHold: async (key, options) => this.#expect(key, options).legalHold,
      deleteBypassingGovernance: async (key, options) => this.#delete(key, options, { bypass: true }),
    }
    this.tiers = {
      setTier: async (key, tier, options) => this.#setTier(key, tier, options),
      getTier: async (key, options) => tierFacts(this.#expect(key, options)),
      rehydrate: async (key, options) => {
        const object = this.#expect(key, options)
        if (object.tier === 'archive') object.rehydratingTo = options.to
      },
    }
  }

  async put(key: string, body: ObjectBody, options: PutOptions): Promise<void> {
    await this.#put(key, body, options)
  }

  async find(key: string, { signal }: CallOptions): Promise<ObjectFacts | undefined> {
    signal.throwIfAborted()
    expectObjectKey(key)
    const object = this.#objects.get(key)
    return object === undefined ? undefined : facts(key, object)
  }

  async get(key: string, options: CallOptions): Promise<Uint8Array> {
    return this.#expectReadable(key, options).bytes.slice()
  }

  async read(key: string, offsetBytes: number, into: Uint8Array, options: CallOptions): Promise<void> {
    const { bytes } = this.#expectReadable(key, options)
    expectInObject(key, bytes.length, offsetBytes, into.length)
    into.set(bytes.subarray(offsetBytes, offsetBytes + into.length))
  }

  async *list(
    prefix: string,
    { signal, after = '' }: CallOptions & { after?: string },
  ): AsyncGenerator<readonly ObjectFacts[]> {
    signal.throwIfAborted()
    expectObjectPrefix(prefix)
    const keys = [...this.#objects.keys()].filter((key) => key.startsWith(prefix) && key > after).toSorted(byCodeUnits)
    while (keys.length > 0) {
      signal.throwIfAborted()
      const page = keys.splice(0, this.#pageMax).flatMap((key) => {
        const object = this.#objects.get(key)
        return object === undefined ? [] : [facts(key, object)]
      })
      if (page.length > 0) yield page
    }
  }

  async delete(key: string, options: CallOptions): Promise<void> {
    this.#delete(key, options, { bypass: false })
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  /** For tests: lets the archive give out what was asked for. */
  finishRehydration(): void {
    for (const object of this.#objects.values()) {
      if (object.rehydratingTo === undefined) continue
      object.tier = object.rehydratingTo
      delete object.rehydratingTo
    }
  }

  async #put(key: string, body: ObjectBody, options: PutOptions & { retention?: Retention }): Promise<void> {
    options.signal.throwIfAborted()
    expectObjectKey(key)
    const { sha256, retention } = options
    expectBody(body, { objectMaxBytes: this.objectMaxBytes, sha256 })
    const whole = await wholeBody(body, { signal: options.signal, sha256 })
    // A Buffer's slice would be a view of the caller's memory.
    const bytes = Uint8Array.from(whole)
    options.signal.throwIfAborted()
    const now = this.#clock.now()
    const present = this.#objects.get(key)
    if (present === undefined) this.#expectNoFolder(key)
    else if (!isSame(present.bytes, bytes)) expectDeletable(key, present, now, { bypass: false })
    if (retention !== undefined) expectLonger(key, present?.retention, retention, now)
    const kept = retention ?? present?.retention
    if (present === undefined) this.#countFolders(key, 1)
    this.#objects.set(key, {
      bytes,
      modifiedAt: now,
      legalHold: present?.legalHold ?? false,
      tier: 'hot',
      ...(kept === undefined ? {} : { retention: kept }),
    })
  }

  #delete(key: string, { signal }: CallOptions, right: { bypass: boolean }): void {
    signal.throwIfAborted()
    expectObjectKey(key)
    const object = this.#objects.get(key)
    if (object === undefined) return
    expectDeletable(key, object, this.#clock.now(), right)
    this.#objects.delete(key)
    this.#countFolders(key, -1)
  }

  #setTier(key: string, tier: ObjectTier, options: CallOptions): void {
    const object = this.#expect(key, options)
    if (object.tier === 'archive' && tier !== 'archive') {
      throw new PlatformError('storage.archived', `object ${key} leaves the archive by rehydration only`)
    }
    object.tier = tier
  }

  #expect(key: string, { signal }: CallOptions): StoredObject {
    signal.throwIfAborted()
    expectObjectKey(key)
    const object = this.#objects.get(key)
    if (object === undefined) throw new PlatformError('storage.not_found', `there is no object ${key} in memory`)
    return object
  }

  #expectReadable(key: string, options: CallOptions): StoredObject {
    const object = this.#expect(key, options)
    if (object.tier === 'archive') throw new PlatformError('storage.archived', `object ${key} is in the archive`)
    return object
  }

  #expectNoFolder(key: string): void {
    const above = foldersOf(key).find((folder) => this.#objects.has(folder))
    if (above === undefined && !this.#folders.has(key)) return
    throw new PlatformError('input.invalid', `object ${key}: no key is a folder of another, ${above ?? key} would be`)
  }

  #countFolders(key: string, change: 1 | -1): void {
    for (const folder of foldersOf(key)) {
      const count = (this.#folders.get(folder) ?? 0) + change
      if (count === 0) this.#folders.delete(folder)
      else this.#folders.set(folder, count)
    }
  }
}

export function createMemoryStore(options: MemoryStoreOptions = {}): MemoryStore {
  return new MemoryStore(options)
}

function foldersOf(key: string): string[] {
  const segments = key.split('/')
  return segments.slice(1).map((_, index) => segments.slice(0, index + 1).join('/'))
}

function facts(key: string, object: StoredObject): ObjectFacts {
  return { key, sizeBytes: bodySizeBytes(object.bytes), modifiedAt: object.modifiedAt }
}

function tierFacts({ tier, rehydratingTo }: StoredObject): ObjectTierFacts {
  return rehydratingTo === undefined ? { tier } : { tier, rehydratingTo }
}

function isSame(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0
}

function byCodeUnits(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0
}
