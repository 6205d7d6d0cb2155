import { isNewerSync } from '@sendense/shared/contracts/agent-message.ts'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createMemoryCatalogue } from '../catalog/memory/memory-catalogue.ts'
import { SyncNumbers } from './sync-numbers.ts'

const signal = AbortSignal.timeout(30_000)

test('each sync is newer than the one before, whatever the cloud says it has', async () => {
  const number = fc.record({ bootEpoch: fc.integer({ min: 1, max: 20 }), syncSequence: fc.integer({ min: 0, max: 5 }) })
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 9 }), fc.array(number), async (bootEpoch, answers) => {
      const catalogue = createMemoryCatalogue()
      const syncs = new SyncNumbers(catalogue, bootEpoch)
      let last = syncs.next()
      for (const newest of answers) {
        const followed = await syncs.follow(newest, { signal })
        const next = syncs.next()
        expect(followed).toBe(isNewerSync(newest, last))
        expect(isNewerSync(next, last)).toBe(true)
        expect(isNewerSync(next, newest)).toBe(true)
        last = next
      }
    }),
  )
})

test('the epoch it goes on with is durable before it is used: another start does not use it again', async () => {
  const catalogue = createMemoryCatalogue()
  const syncs = new SyncNumbers(catalogue, 3)
  expect(syncs.next()).toEqual({ bootEpoch: 3, syncSequence: 1 })
  catalogue.unavailable = true
  await expect(syncs.follow({ bootEpoch: 7, syncSequence: 40 }, { signal })).rejects.toMatchObject({
    code: 'database.unavailable',
  })
  expect(syncs.bootEpoch).toBe(3)
  catalogue.unavailable = false
  expect(await syncs.follow({ bootEpoch: 7, syncSequence: 40 }, { signal })).toBe(true)
  expect(await catalogue.transaction(async (tx) => await tx.settings.getNumber('boot-epoch'), { signal })).toBe(8)
  expect(syncs.next()).toEqual({ bootEpoch: 8, syncSequence: 1 })
})

test('an answer to an earlier sync of this process begins no epoch', async () => {
  const syncs = new SyncNumbers(createMemoryCatalogue(), 3)
  const first = syncs.next()
  const second = syncs.next()
  for (const newest of [first, second, { bootEpoch: 2, syncSequence: 99 }]) {
    expect(await syncs.follow(newest, { signal })).toBe(false)
  }
  expect(syncs.next()).toEqual({ bootEpoch: 3, syncSequence: 3 })
})
