import { randomUUID } from 'node:crypto'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { seededBytes } from '@sendense/shared/runtime/seeded-random.ts'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { listKeys } from './guarantee.ts'
import { isObjectKey } from './object-key.ts'
import { isPromisedBy, objectStoreGuarantees } from './object-store-guarantees.ts'
import type { ObjectStore } from './object-store.ts'

const DEADLINE_MS = 60_000

export interface ConformanceOptions {
  /** Abilities that the store must have and the suite must try: an ability that is missing is a failure, not a skip. */
  readonly abilities: readonly ('immutability' | 'tiers')[]
  /** See GuaranteeContext. Default 3 MiB and 5 s. */
  readonly largeBytes?: number
  readonly retainForMs?: number
  /** The clock that the store goes by. Default: the system's. */
  readonly clock?: Clock
  /** How many objects the property test puts. Default 40. */
  readonly runs?: number
}

/**
 * The contract of ObjectStore as tests. Every driver and every layer must pass all of them.
 * @param open called once; each test has a prefix of its own, so the store need not be empty
 */
export function describeObjectStore(
  driver: string,
  open: () => Promise<ObjectStore>,
  {
    abilities,
    largeBytes = 3 * 1024 * 1024 + 7,
    retainForMs = 5000,
    clock = systemClock,
    runs = 40,
  }: ConformanceOptions,
): void {
  describe(`ObjectStore conformance: ${driver}`, () => {
    let store: ObjectStore
    beforeAll(async () => {
      store = await open()
    })
    afterAll(async () => {
      await store?.[Symbol.asyncDispose]()
    })

    test(`has ${abilities.length === 0 ? 'neither immutability nor tiers' : abilities.join(' and ')}`, () => {
      expect(store.immutability !== undefined).toBe(abilities.includes('immutability'))
      expect(store.tiers !== undefined).toBe(abilities.includes('tiers'))
    })

    // Where time passes only by sleeping, one that sleeps would end the retentions of the others.
    const oneTest = clock === systemClock ? test.concurrent : test
    for (const { promise, needs, run } of objectStoreGuarantees) {
      if (needs !== undefined && !abilities.includes(needs)) continue
      oneTest(
        promise,
        async () => {
          expect(isPromisedBy(store, { promise, run, ...(needs === undefined ? {} : { needs }) })).toBe(true)
          const signal = AbortSignal.timeout(DEADLINE_MS)
          const prefix = `conformance/${randomUUID()}/`
          await run({ store, prefix, signal, randomBytes: seededBytes(17), largeBytes, retainForMs, clock })
        },
        DEADLINE_MS + 5000,
      )
    }

    test('any objects under any keys: all come back, are listed in order, and are gone when deleted', async () => {
      const signal = AbortSignal.timeout(DEADLINE_MS)
      const prefix = `any/${randomUUID()}/`
      const model = new Map<string, Uint8Array>()
      const put = async (key: string, body: Uint8Array): Promise<void> => {
        if (isInFolderOf(model, prefix + key)) return
        await store.put(prefix + key, body, { signal })
        model.set(prefix + key, body)
        expect(Buffer.compare(await store.get(prefix + key, { signal }), body)).toBe(0)
      }
      await fc.assert(fc.asyncProperty(anyKey, fc.uint8Array({ maxLength: 5000 }), put), { numRuns: runs })
      expect(await listKeys(store, prefix, { signal })).toEqual([...model.keys()].toSorted())
      for (const [index, key] of [...model.keys()].entries()) {
        if (index % 2 === 0) continue
        await store.delete(key, { signal })
        model.delete(key)
      }
      expect(await listKeys(store, prefix, { signal })).toEqual([...model.keys()].toSorted())
      for (const [key, body] of model) expect(Buffer.compare(await store.get(key, { signal }), body)).toBe(0)
    })
  })
}

const segment = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.=-]{0,20}$/)
const anyKey = fc
  .array(segment, { minLength: 1, maxLength: 4 })
  .map((segments) => segments.join('/'))
  .filter((key) => isObjectKey(key))

/** Whether one of the two would be a folder of the other, or other bytes would be put under a key. */
function isInFolderOf(model: ReadonlyMap<string, unknown>, key: string): boolean {
  return [...model.keys()].some((other) => other === key || other.startsWith(`${key}/`) || key.startsWith(`${other}/`))
}
