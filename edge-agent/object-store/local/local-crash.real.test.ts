import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { seededBytes } from '@sendense/shared/runtime/seeded-random.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { listKeys } from '../guarantee.ts'
import type { ObjectStore, Retention } from '../object-store.ts'
import { createForgetfulFiles } from './forgetful-files.ts'
import { openLocalStore } from './local-store.ts'
import { stoppingFiles } from './stopping-files.ts'
import { kernelFiles, type StoreFiles } from './store-files.ts'
import { temporaryDirectory } from './temporary-directory.ts'

const STEPS_MAX = 60
const signal = AbortSignal.timeout(120_000)
const body = seededBytes(3)(100_000)
const retention: Retention = { mode: 'compliance', retainUntil: new Date('2100-01-01T00:00:00Z') }
let root: Awaited<ReturnType<typeof temporaryDirectory>>
let count = 0

beforeAll(async () => {
  root = await temporaryDirectory()
})
afterAll(async () => await root[Symbol.asyncDispose]())

interface Crash {
  readonly keepNames: boolean
  readonly prepare: (store: ObjectStore) => Promise<void>
  readonly work: (store: ObjectStore) => Promise<void>
  /** Looks at what a new process finds. `isDone`: the work had resolved before the power went. */
  readonly check: (store: ObjectStore, isDone: boolean) => Promise<void>
}

/** Runs the work with the power going out before its first call to the kernel, its second, and so on, until it ends. */
async function crashAtEveryStep({ keepNames, prepare, work, check }: Crash): Promise<number> {
  for (let stopAt = 0; stopAt < STEPS_MAX; stopAt += 1) {
    const directory = path.join(root.path, String((count += 1)))
    const aside = `${directory}-aside`
    await mkdir(directory)
    await mkdir(aside)
    const forgetful = createForgetfulFiles(kernelFiles, aside)
    let left = Infinity
    const files: StoreFiles = stoppingFiles(forgetful, () => {
      left -= 1
      if (left < 0) throw new Error('the power went')
    })
    const store = await openLocalStore({ directory, create: { worm: true }, files, signal })
    await prepare(store)
    left = stopAt
    const isDone = await work(store).then(
      () => true,
      () => false,
    )
    await forgetful.loseUnsynced({ keepNames })
    await check(await openLocalStore({ directory, signal }), isDone)
    if (isDone) return stopAt
  }
  throw new Error(`the work takes more than ${STEPS_MAX} steps`)
}

async function stateOf(store: ObjectStore, key: string): Promise<'whole' | 'absent' | 'torn'> {
  if ((await store.find(key, { signal })) === undefined) return 'absent'
  return Buffer.compare(await store.get(key, { signal }), body) === 0 ? 'whole' : 'torn'
}

describe.each([{ keepNames: false }, { keepNames: true }])('a power cut, names kept: $keepNames', ({ keepNames }) => {
  test('an object whose put resolved is whole; any other is whole or absent, and can be put again', async () => {
    const steps = await crashAtEveryStep({
      keepNames,
      prepare: async () => {},
      work: async (store) => await store.put('packs/a/b', body, { signal }),
      check: async (store, isDone) => {
        expect(isDone ? ['whole'] : ['whole', 'absent']).toContain(await stateOf(store, 'packs/a/b'))
        await store.put('packs/a/b', body, { signal })
        expect(Buffer.compare(await store.get('packs/a/b', { signal }), body)).toBe(0)
      },
    })
    expect(steps).toBeGreaterThan(10)
  })

  test('an object that was put with a retention is never there without it', async () => {
    const steps = await crashAtEveryStep({
      keepNames,
      prepare: async () => {},
      work: async (store) => await store.immutability?.put('p/a', body, { signal, retention }),
      check: async (store, isDone) => {
        const state = await stateOf(store, 'p/a')
        expect(isDone ? ['whole'] : ['whole', 'absent']).toContain(state)
        if (state === 'absent') return
        expect(await store.immutability?.findRetention('p/a', { signal })).toEqual(retention)
        await expect(store.delete('p/a', { signal })).rejects.toMatchObject({ code: 'storage.immutable' })
      },
    })
    expect(steps).toBeGreaterThan(14)
  })

  test('a retention that was extended is the new one when that resolved, else the old or the new one', async () => {
    const longer: Retention = { ...retention, retainUntil: new Date('2101-01-01T00:00:00Z') }
    await crashAtEveryStep({
      keepNames,
      prepare: async (store) => await store.immutability?.put('a', body, { signal, retention }),
      work: async (store) => await store.immutability?.setRetention('a', longer, { signal }),
      check: async (store, isDone) => {
        const found = await store.immutability?.findRetention('a', { signal })
        expect(isDone ? [longer] : [retention, longer]).toContainEqual(found)
      },
    })
  })

  test('a deleted object stays deleted once that resolved; other objects are untouched', async () => {
    await crashAtEveryStep({
      keepNames,
      prepare: async (store) => {
        await store.put('a/1', body, { signal })
        await store.put('b/2', body, { signal })
      },
      work: async (store) => await store.delete('a/1', { signal }),
      check: async (store, isDone) => {
        const keys = await listKeys(store, '', { signal })
        expect(isDone ? [['b/2']] : [['b/2'], ['a/1', 'b/2']]).toContainEqual(keys)
        for (const key of keys) expect(Buffer.compare(await store.get(key, { signal }), body)).toBe(0)
        await store.delete('a/1', { signal })
        expect(await listKeys(store, '', { signal })).toEqual(['b/2'])
      },
    })
  })
})
