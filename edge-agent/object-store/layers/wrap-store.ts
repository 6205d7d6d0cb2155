import { bodySizeBytes } from '../object-body.ts'
import type {
  CallOptions,
  ListOptions,
  ObjectFacts,
  ObjectImmutability,
  ObjectStore,
  ObjectTiers,
  ObjectVersion,
  ObjectVersions,
} from '../object-store.ts'

export type StoreOperation =
  | 'put'
  | 'find'
  | 'get'
  | 'read'
  | 'list'
  | 'delete'
  | 'setRetention'
  | 'findRetention'
  | 'setLegalHold'
  | 'hasLegalHold'
  | 'listVersions'
  | 'getVersion'
  | 'setTier'
  | 'getTier'
  | 'rehydrate'

/** One call of a store: for listings, one page. */
export interface StoreCall {
  readonly operation: StoreOperation
  /** The prefix for listings. */
  readonly key: string
  /** How much it sends. */
  readonly sentBytes: number
  /** How much it asks for; undefined where only the answer tells. */
  readonly wantedBytes: number | undefined
}

/** Does something before, after or instead of the work. May run it several times: each call may be made again. */
export type Around = <T>(call: StoreCall, options: CallOptions, work: () => Promise<T>) => Promise<T>

/**
 * A store each of whose calls goes through `around`, with the abilities of the store below. A listing whose page
 * failed goes on behind the last page that came. It owns `store`.
 */
export function wrapStore(store: ObjectStore, around: Around): ObjectStore {
  const call = async <T>(operation: StoreOperation, key: string, options: CallOptions, work: () => Promise<T>) =>
    await around({ operation, key, sentBytes: 0, wantedBytes: 0 }, options, work)
  const download = async <T>(operation: StoreOperation, key: string, options: CallOptions, work: () => Promise<T>) =>
    await around({ operation, key, sentBytes: 0, wantedBytes: undefined }, options, work)
  return {
    description: store.description,
    objectMaxBytes: store.objectMaxBytes,
    ...(store.immutability === undefined ? {} : { immutability: wrapImmutability(store.immutability, around, call) }),
    ...(store.versions === undefined ? {} : { versions: wrapVersions(store.versions, call, download) }),
    ...(store.tiers === undefined ? {} : { tiers: wrapTiers(store.tiers, call) }),
    put: async (key, body, options) => {
      const facts = { operation: 'put', key, sentBytes: bodySizeBytes(body), wantedBytes: 0 } as const
      await around(facts, options, async () => await store.put(key, body, options))
    },
    find: async (key, options) => await call('find', key, options, async () => await store.find(key, options)),
    get: async (key, options) => await download('get', key, options, async () => await store.get(key, options)),
    read: async (key, offsetBytes, into, options) => {
      const facts = { operation: 'read', key, sentBytes: 0, wantedBytes: into.length } as const
      await around(facts, options, async () => await store.read(key, offsetBytes, into, options))
    },
    list: (prefix, options) => resumedList(store, prefix, options, call),
    delete: async (key, options) => await call('delete', key, options, async () => await store.delete(key, options)),
    [Symbol.asyncDispose]: async () => await store[Symbol.asyncDispose](),
  }
}

type Call = <T>(operation: StoreOperation, key: string, options: CallOptions, work: () => Promise<T>) => Promise<T>

function wrapImmutability(inner: ObjectImmutability, around: Around, call: Call): ObjectImmutability {
  return {
    put: async (key, body, options) => {
      const facts = { operation: 'put', key, sentBytes: bodySizeBytes(body), wantedBytes: 0 } as const
      await around(facts, options, async () => await inner.put(key, body, options))
    },
    setRetention: async (key, retention, options) =>
      await call('setRetention', key, options, async () => await inner.setRetention(key, retention, options)),
    findRetention: async (key, options) =>
      await call('findRetention', key, options, async () => await inner.findRetention(key, options)),
    setLegalHold: async (key, held, options) =>
      await call('setLegalHold', key, options, async () => await inner.setLegalHold(key, held, options)),
    hasLegalHold: async (key, options) =>
      await call('hasLegalHold', key, options, async () => await inner.hasLegalHold(key, options)),
    deleteBypassingGovernance: async (key, options) =>
      await call('delete', key, options, async () => await inner.deleteBypassingGovernance(key, options)),
  }
}

function wrapVersions(inner: ObjectVersions, call: Call, download: Call): ObjectVersions {
  return {
    list: (prefix, options) => resumedVersions(inner, prefix, options, call),
    get: async (key, versionId, options) =>
      await download('getVersion', key, options, async () => await inner.get(key, versionId, options)),
  }
}

function wrapTiers(inner: ObjectTiers, call: Call): ObjectTiers {
  return {
    setTier: async (key, tier, options) =>
      await call('setTier', key, options, async () => await inner.setTier(key, tier, options)),
    getTier: async (key, options) => await call('getTier', key, options, async () => await inner.getTier(key, options)),
    rehydrate: async (key, options) =>
      await call('rehydrate', key, options, async () => await inner.rehydrate(key, options)),
  }
}

async function* resumedList(
  store: ObjectStore,
  prefix: string,
  options: ListOptions,
  call: Call,
): AsyncGenerator<readonly ObjectFacts[]> {
  let after = options.after
  let pages: AsyncIterator<readonly ObjectFacts[]> | undefined
  for (;;) {
    const next = await call('list', prefix, options, async () => {
      pages ??= store.list(prefix, { ...options, ...(after === undefined ? {} : { after }) })[Symbol.asyncIterator]()
      return await nextOrForget(pages, () => (pages = undefined))
    })
    if (next.done === true) return
    after = next.value.at(-1)?.key ?? after
    yield next.value
  }
}

/** There is no going on behind a version: it begins anew and leaves out what was told. */
async function* resumedVersions(
  inner: ObjectVersions,
  prefix: string,
  options: CallOptions,
  call: Call,
): AsyncGenerator<readonly ObjectVersion[]> {
  const told = new Set<string>()
  let pages: AsyncIterator<readonly ObjectVersion[]> | undefined
  for (;;) {
    const next = await call('listVersions', prefix, options, async () => {
      pages ??= inner.list(prefix, options)[Symbol.asyncIterator]()
      return await nextOrForget(pages, () => (pages = undefined))
    })
    if (next.done === true) return
    const fresh = next.value.filter(({ key, versionId }) => !told.has(`${key} ${versionId}`))
    for (const { key, versionId } of fresh) told.add(`${key} ${versionId}`)
    if (fresh.length > 0) yield fresh
  }
}

async function nextOrForget<T>(pages: AsyncIterator<T>, forget: () => void): Promise<IteratorResult<T>> {
  try {
    return await pages.next()
  } catch (error) {
    forget() // an iterator that threw has ended
    throw error
  }
}
