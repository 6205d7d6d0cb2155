import { expect, test } from 'vitest'
import { describeObjectStore } from '../object-store.conformance.ts'
import { createSleepingClock } from '../sleeping-clock.ts'
import { createMemoryStore } from './memory-store.ts'

const signal = AbortSignal.timeout(30_000)

const clock = createSleepingClock()
const abilities = ['immutability', 'tiers'] as const

describeObjectStore('memory', async () => createMemoryStore({ clock }), { abilities, clock })
describeObjectStore('memory, three objects a page', async () => createMemoryStore({ clock, pageMax: 3 }), {
  abilities,
  clock,
})

test('a key that would be a folder of another is refused, also after deletes', async () => {
  await using store = createMemoryStore()
  await store.put('a/b', Uint8Array.of(1), { signal })
  await expect(store.put('a', Uint8Array.of(1), { signal })).rejects.toMatchObject({ code: 'input.invalid' })
  await expect(store.put('a/b/c', Uint8Array.of(1), { signal })).rejects.toMatchObject({ code: 'input.invalid' })
  await store.delete('a/b', { signal })
  await store.put('a', Uint8Array.of(1), { signal })
})

test('an object that is larger than the store takes is refused', async () => {
  await using store = createMemoryStore({ objectMaxBytes: 10 })
  await expect(store.put('a', new Uint8Array(11), { signal })).rejects.toMatchObject({ code: 'input.invalid' })
  await store.put('a', new Uint8Array(10), { signal })
})

test('what was asked for from the archive can be read when it has come', async () => {
  await using store = createMemoryStore()
  await store.put('a', Uint8Array.of(7), { signal })
  await store.tiers.setTier('a', 'archive', { signal })
  await store.tiers.rehydrate('a', { signal, to: 'cool', priority: 'high' })
  store.finishRehydration()
  expect(await store.get('a', { signal })).toEqual(Uint8Array.of(7))
  expect(await store.tiers.getTier('a', { signal })).toEqual({ tier: 'cool' })
})
