import type { ErrorCode } from '@sendense/shared/errors/error-codes.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { seededRandom } from '@sendense/shared/runtime/seeded-random.ts'
import { wholeBody } from '../object-body.ts'
import type { CallOptions, ListOptions, ObjectBody, ObjectFacts, ObjectStore } from '../object-store.ts'
import { wrapStore } from './wrap-store.ts'

const CODES: readonly ErrorCode[] = [
  'storage.unreachable',
  'storage.throttled',
  'storage.unavailable',
  'storage.timeout',
]

export interface StoreFaults {
  readonly seed: number
  /** Shares of calls, 0 to 1; absent: none. Calls that fail and do nothing. */
  readonly errorRate?: number
  /** Calls that are done and fail all the same: the answer was lost. */
  readonly lateErrorRate?: number
  /** Puts that leave the first half of their bytes and fail, as a store does that is not atomic. */
  readonly tornPutRate?: number
  /** Listings may show the state of up to so many listings ago, for each key differently. Default 0. */
  readonly listingLagMax?: number
  /** Listings may show, for each key differently, what was there so many milliseconds ago. */
  readonly listingDelay?: { readonly maxMs: number; readonly nowMs: () => number }
}

/**
 * A store that fails: the same calls for the same seed, as long as they come in the same order. It owns `store`.
 * Torn puts and late listings break the contract of ObjectStore: they are for tests of what must survive that.
 */
export function faultyStore(store: ObjectStore, faults: StoreFaults): ObjectStore {
  const { errorRate = 0, lateErrorRate = 0, tornPutRate = 0, listingLagMax = 0, listingDelay } = faults
  const random = seededRandom(faults.seed)
  const happens = (rate: number): boolean => rate > 0 && random() < rate
  const torn = tornPutRate > 0 ? tornPuts(store, () => happens(tornPutRate)) : store
  const lagging = listingLagMax > 0 ? lateListings(torn, lagOfListings(random, listingLagMax)) : torn
  const late = listingDelay === undefined ? lagging : lateListings(lagging, lagOfTime(random, listingDelay))
  return wrapStore(late, async (call, { signal }, work) => {
    signal.throwIfAborted()
    if (happens(errorRate))
      throw injected(`${call.operation} of ${call.key}`, CODES[Math.floor(random() * CODES.length)])
    const result = await work()
    if (happens(lateErrorRate)) throw injected(`the answer to ${call.operation} of ${call.key} was lost`)
    return result
  })
}

function tornPuts(store: ObjectStore, happens: () => boolean): ObjectStore {
  return replacing(store, {
    put: async (key, body, options) => {
      if (happens()) {
        await putHalf(store, key, body, options)
        throw injected(`half of ${key} was put`)
      }
      await store.put(key, body, options)
    },
  })
}

async function putHalf(store: ObjectStore, key: string, body: ObjectBody, { signal }: CallOptions): Promise<void> {
  const whole = await wholeBody(body, { signal, sha256: undefined })
  await store.put(key, whole.subarray(0, Math.floor(whole.length / 2)), { signal })
}

/** How long listings do not know of a change: asked at each change; the answer is asked at each listing. */
type Lag = () => () => boolean

function lagOfListings(random: () => number, listingsMax: number): Lag {
  return () => {
    let left = Math.floor(random() * (listingsMax + 1))
    return () => {
      left -= 1
      return left >= 0
    }
  }
}

function lagOfTime(random: () => number, { maxMs, nowMs }: NonNullable<StoreFaults['listingDelay']>): Lag {
  return () => {
    // Half of it is seen at once: what is told out of order is what surprises.
    const untilMs = nowMs() + (random() < 0.5 ? 0 : random() * maxMs)
    return () => nowMs() < untilMs
  }
}

/** What listings do not know yet: of objects that were put, nothing; of those that were deleted, what they were. */
function lateListings(store: ObjectStore, lag: Lag): ObjectStore {
  const unseen = new Map<string, { isLate: () => boolean; shown: ObjectFacts | undefined }>()
  const remember = async (key: string, options: CallOptions, change: () => Promise<void>): Promise<void> => {
    const before = await store.find(key, options)
    await change()
    unseen.set(key, { isLate: lag(), shown: unseen.get(key)?.shown ?? before })
  }
  return replacing(store, {
    put: async (key, body, options) => await remember(key, options, async () => await store.put(key, body, options)),
    delete: async (key, options) => await remember(key, options, async () => await store.delete(key, options)),
    list: async function* (prefix: string, options: ListOptions) {
      const late = new Map([...unseen].filter(([, { isLate }]) => isLate()))
      for (const key of unseen.keys()) if (!late.has(key)) unseen.delete(key)
      const ghosts = [...late.values()]
        .flatMap(({ shown }) => (shown === undefined ? [] : [shown]))
        .filter(({ key }) => key.startsWith(prefix) && key > (options.after ?? ''))
      const found: ObjectFacts[] = []
      for await (const page of store.list(prefix, options)) found.push(...page.filter(({ key }) => !late.has(key)))
      const shown = [...found, ...ghosts].toSorted((left, right) => (left.key < right.key ? -1 : 1))
      if (shown.length > 0) yield shown
    },
  })
}

/** The store with some of its functions replaced. */
function replacing(store: ObjectStore, replaced: Partial<ObjectStore>): ObjectStore {
  return { ...wrapStore(store, async (_call, _options, work) => await work()), ...replaced }
}

function injected(what: string, code: ErrorCode = 'storage.unreachable'): PlatformError {
  return new PlatformError(code, `injected fault: ${what}`)
}
