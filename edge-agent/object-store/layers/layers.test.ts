import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { describe, expect, test } from 'vitest'
import { listKeys } from '../guarantee.ts'
import { createMemoryStore } from '../memory/memory-store.ts'
import { describeObjectStore } from '../object-store.conformance.ts'
import type { ObjectStore } from '../object-store.ts'
import { createSleepingClock } from '../sleeping-clock.ts'
import { faultyStore } from './faulty-store.ts'
import { meteredStore, StoreMeter } from './metered-store.ts'
import { readOnlyStore } from './read-only-store.ts'
import { retryingStore } from './retrying-store.ts'
import { throttledStore } from './throttled-store.ts'

const signal = AbortSignal.timeout(60_000)
const clock = createSleepingClock()
const options = { abilities: ['immutability', 'tiers'], clock } as const
/** Time for the layers only: what they wait must not end the retentions that the suite sets. */
const ownClock = createSleepingClock()
const memory = () => createMemoryStore({ clock, pageMax: 5 })

describeObjectStore('metered over memory', async () => meteredStore(memory(), new StoreMeter()), options)
describeObjectStore(
  'throttled over memory',
  async () => throttledStore(memory(), { bytesPerSecond: 1e6, requestsPerSecond: 100, clock: ownClock }),
  options,
)
describeObjectStore('without faults over memory', async () => faultyStore(memory(), { seed: 1 }), options)
describeObjectStore(
  'retries over errors and lost answers over memory',
  async () => {
    const faulty = faultyStore(memory(), { seed: 7, errorRate: 0.2, lateErrorRate: 0.2 })
    return retryingStore(faulty, { triesMax: 40, clock: ownClock })
  },
  options,
)
describeObjectStore(
  'all layers over memory',
  async () => {
    const faulty = faultyStore(memory(), { seed: 9, errorRate: 0.1, lateErrorRate: 0.1 })
    const throttled = throttledStore(faulty, { bytesPerSecond: 1e7, clock: ownClock })
    return meteredStore(retryingStore(throttled, { triesMax: 40, clock: ownClock }), new StoreMeter())
  },
  options,
)

/** A store whose `find` rejects with these, one after the other, and then finds nothing. */
function failingFind(errors: readonly unknown[]): ObjectStore {
  const left = [...errors]
  const store = memory()
  store.find = async () => {
    if (left.length > 0) throw left.shift()
    return undefined
  }
  return store
}

test('a read-only store gives all that is there and changes nothing, and shows no ability to', async () => {
  const below = memory()
  await below.put('a/b', Buffer.from('content'), { signal })
  const store = readOnlyStore(below)
  const refused = { code: 'storage.read_only' }
  await expect(store.put('a/c', Buffer.from('other'), { signal })).rejects.toMatchObject(refused)
  await expect(store.delete('a/b', { signal })).rejects.toMatchObject(refused)
  expect([store.immutability, store.tiers]).toEqual([undefined, undefined])
  expect(await listKeys(store, '', { signal })).toEqual(['a/b'])
  expect(Buffer.from(await store.get('a/b', { signal })).toString()).toBe('content')
  expect(await store.find('a/b', { signal })).toMatchObject({ key: 'a/b', sizeBytes: 7 })
})

describe('retries', () => {
  const backoff = new PlatformError('storage.throttled', 'slow down')

  test('wait longer each time, at random, up to a cap, and give up with the last error', async () => {
    const waits: number[] = []
    const sleep = async (milliseconds: number): Promise<void> => void waits.push(milliseconds)
    const store = retryingStore(failingFind([backoff, backoff, backoff, backoff, backoff]), {
      triesMax: 5,
      baseMs: 100,
      capMs: 500,
      clock: { sleep },
      random: () => 1,
    })
    await expect(store.find('a', { signal })).rejects.toBe(backoff)
    expect(waits).toEqual([100, 200, 400, 500])
    expect(await store.find('a', { signal })).toBeUndefined()
  })

  test.each([
    new PlatformError('storage.immutable', 'locked'),
    new PlatformError('storage.no_space', 'full'),
    new Error('nobody translated it'),
  ])('do not try again what cannot succeed: $message', async (error) => {
    let retries = 0
    const store = retryingStore(failingFind([error]), { clock: ownClock, onRetry: () => (retries += 1) })
    await expect(store.find('a', { signal })).rejects.toBe(error)
    expect(retries).toBe(0)
  })

  test('an aborted call ends while it waits', async () => {
    const abort = new AbortController()
    const reason = new Error('enough')
    const store = retryingStore(failingFind([backoff]), { onRetry: () => abort.abort(reason) })
    await expect(store.find('a', { signal: abort.signal })).rejects.toBe(reason)
  })

  test('a listing goes on behind the last page that came', async () => {
    const below = createMemoryStore({ pageMax: 2 })
    const keys = Array.from({ length: 23 }, (_, index) => `k${String(index).padStart(2, '0')}`)
    for (const key of keys) await below.put(key, Uint8Array.of(1), { signal })
    let retries = 0
    const store = retryingStore(faultyStore(below, { seed: 3, errorRate: 0.4, lateErrorRate: 0.2 }), {
      triesMax: 50,
      clock: ownClock,
      onRetry: () => (retries += 1),
    })
    expect(await listKeys(store, '', { signal })).toEqual(keys)
    expect(retries).toBeGreaterThan(2)
  })
})

/** How 60 puts end. */
async function ends(seed: number): Promise<string> {
  const store = faultyStore(memory(), { seed, errorRate: 0.3, lateErrorRate: 0.2 })
  const found: string[] = []
  for (let at = 0; at < 60; at += 1) {
    const [end] = await Promise.allSettled([store.put(`a${at}`, new Uint8Array(1), { signal })])
    found.push(end.status)
  }
  return found.join()
}

describe('other layers', () => {
  test('a throttle lets bytes and requests begin no faster than their rates', async () => {
    const time = createSleepingClock()
    const start = time.now().getTime()
    const store = throttledStore(memory(), { bytesPerSecond: 1000, requestsPerSecond: 10, clock: time })
    for (let count = 0; count < 5; count += 1) await store.put(`a${count}`, new Uint8Array(500), { signal })
    expect(time.now().getTime() - start).toBe(2000)
    await store.get('a0', { signal })
    await store.get('a1', { signal })
    expect(time.now().getTime() - start).toBe(3000)
    const quiet = time.now().getTime()
    for (let count = 0; count < 21; count += 1) await store.find('a', { signal })
    expect(time.now().getTime() - quiet).toBeGreaterThanOrEqual(1900)
  })

  test('a meter counts calls, bytes, failures by code and how long they took', async () => {
    const meter = new StoreMeter()
    let now = 0
    const store = meteredStore(memory(), meter, () => (now += 20))
    await store.put('a', new Uint8Array(300), { signal })
    await store.get('a', { signal })
    await store.read('a', 0, new Uint8Array(7), { signal })
    await store.get('b', { signal }).catch(() => undefined)
    await store.get('a', { signal: AbortSignal.abort() }).catch(() => undefined)
    const { put, get, read } = meter.snapshot()
    expect(put).toMatchObject({ calls: 1, sentBytes: 300, totalMs: 20, failures: {} })
    expect(get).toMatchObject({ calls: 3, receivedBytes: 300, failures: { 'storage.not_found': 1, 'aborted': 1 } })
    expect(read).toMatchObject({ receivedBytes: 7 })
    expect(get?.latencyCounts[2]).toBe(3)
  })

  test('the same seed fails the same calls, another seed others', async () => {
    expect(await ends(7)).toBe(await ends(7))
    expect(await ends(7)).not.toBe(await ends(8))
    expect(await ends(7)).toContain('rejected')
    expect(await ends(7)).toContain('fulfilled')
  })

  test('an error that comes late has had its effect, a torn put half of it', async () => {
    const below = memory()
    const late = faultyStore(below, { seed: 1, lateErrorRate: 1 })
    await expect(late.put('a', Uint8Array.of(1, 2), { signal })).rejects.toMatchObject({ code: 'storage.unreachable' })
    expect(await below.get('a', { signal })).toEqual(Uint8Array.of(1, 2))
    const torn = faultyStore(below, { seed: 1, tornPutRate: 1 })
    await expect(torn.put('b', Uint8Array.of(1, 2), { signal })).rejects.toMatchObject({ code: 'storage.unreachable' })
    expect(await below.get('b', { signal })).toEqual(Uint8Array.of(1))
  })

  test('late listings show new objects and forget deleted ones a few listings later', async () => {
    const store = faultyStore(memory(), { seed: 5, listingLagMax: 3 })
    const keys = Array.from({ length: 30 }, (_, index) => `k${String(index).padStart(2, '0')}`)
    for (const key of keys) await store.put(key, Uint8Array.of(1), { signal })
    expect((await listKeys(store, '', { signal })).length).toBeLessThan(30)
    for (let listings = 0; listings < 3; listings += 1) await listKeys(store, '', { signal })
    expect(await listKeys(store, '', { signal })).toEqual(keys)
    for (const key of keys) await store.delete(key, { signal })
    expect((await listKeys(store, '', { signal })).length).toBeGreaterThan(0)
    for (let listings = 0; listings < 3; listings += 1) await listKeys(store, '', { signal })
    expect(await listKeys(store, '', { signal })).toEqual([])
  })
})
