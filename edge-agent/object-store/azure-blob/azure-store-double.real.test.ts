import { seededBytes, seededRandom } from '@sendense/shared/runtime/seeded-random.ts'
import { afterAll, describe, expect, test } from 'vitest'
import {
  type AzureDoubleOptions,
  startAzureImmutabilityDouble,
} from '../../../test/doubles/azure-immutability/azure-immutability-double.ts'
import { retryingStore } from '../layers/retrying-store.ts'
import { describeObjectStore } from '../object-store.conformance.ts'
import { createSleepingClock } from '../sleeping-clock.ts'
import { openAzureStore } from './azure-store.ts'

const MIB = 1024 ** 2
const signal = AbortSignal.timeout(110_000)
const clock = createSleepingClock()
const doubles = new AsyncDisposableStack()
afterAll(async () => await doubles.disposeAsync())

async function startStore(options: AzureDoubleOptions = {}) {
  const double = doubles.use(await startAzureImmutabilityDouble({ now: () => clock.now(), ...options }))
  const { account, accountKey, endpoint, containerName } = double
  const small = { pageMax: 7, singlePutMaxBytes: MIB, blockSizeBytes: MIB }
  const settings = { account, container: containerName, endpoint, credentials: { accountKey }, ...small }
  return { double, store: await openAzureStore(settings, { signal, clock }) }
}

const options = { abilities: ['immutability'], clock, runs: 15 } as const
describeObjectStore('Azure double with version-level immutability', async () => (await startStore()).store, options)
describeObjectStore(
  'retries over an Azure double that fails now and then',
  async () => {
    const random = seededRandom(21)
    let opened = false
    const fault = () =>
      opened && random() < 0.12
        ? {
            status: random() < 0.5 ? 503 : 500,
            code: random() < 0.5 ? 'ServerBusy' : 'InternalError',
            late: random() < 0.5,
          }
        : undefined
    const { store } = await startStore({ fault })
    opened = true
    return retryingStore(store, { triesMax: 12, baseMs: 1, capMs: 10 })
  },
  options,
)

describe('a container with version-level immutability', () => {
  test('former versions are found, read and deleted with their object', async () => {
    const { store, double } = await startStore()
    for (const text of ['first', 'second', 'third']) await store.put('a', Buffer.from(text), { signal })
    await store.put('ab', Buffer.from('x'), { signal })
    const found = []
    for await (const page of store.versions?.list('a', { signal }) ?? []) found.push(...page)
    expect(found.map(({ key, current }) => [key, current])).toEqual([
      ['a', true],
      ['a', false],
      ['a', false],
      ['ab', true],
    ])
    const oldest = found[2]
    expect(oldest).toBeDefined()
    const bytes = await store.versions?.get('a', oldest?.versionId ?? '', { signal })
    expect(Buffer.from(bytes ?? []).toString()).toBe('first')
    await store.delete('a', { signal })
    expect(double.container.versions().map(({ name }) => name)).toEqual(['ab'])
  })

  test('a protected former version keeps the object as it is', async () => {
    const { store, double } = await startStore()
    await store.put('a', Buffer.from('kept'), { signal })
    await store.immutability?.setLegalHold('a', true, { signal })
    await store.put('a', Buffer.from('other'), { signal })
    await expect(store.delete('a', { signal })).rejects.toMatchObject({ code: 'storage.immutable' })
    expect(Buffer.from(await store.get('a', { signal })).toString()).toBe('other')
    expect(double.container.versions()).toHaveLength(2)
  })

  test.each([
    [503, 'ServerBusy', 'storage.throttled'],
    [500, 'InternalError', 'storage.unavailable'],
    [403, 'AuthorizationPermissionMismatch', 'storage.access_denied'],
    [404, 'ContainerBeingDeleted', 'storage.container_missing'],
    [409, 'BlobArchived', 'storage.archived'],
    [418, 'Teapot', 'storage.refused'],
  ])('%i %s is %s', async (status, code, expected) => {
    const faults: { status: number; code: string }[] = []
    const { store } = await startStore({ fault: () => faults.shift() })
    await store.put('a', seededBytes(1)(10), { signal })
    faults.push({ status, code })
    await expect(store.get('a', { signal })).rejects.toMatchObject({ code: expected })
    faults.push({ status, code })
    await expect(store.find('a', { signal })).rejects.toMatchObject({ code: expected })
  })

  test('a clock that is off is told', async () => {
    let offsetMs = 0
    const { store } = await startStore({ now: () => new Date(Date.now() + offsetMs) })
    offsetMs = 3_600_000
    await expect(store.find('a', { signal })).rejects.toMatchObject({ code: 'storage.clock_skew' })
  })
})
