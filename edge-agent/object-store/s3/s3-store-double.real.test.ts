import { seededBytes, seededRandom } from '@sendense/shared/runtime/seeded-random.ts'
import { afterAll, describe, expect, test } from 'vitest'
import { type S3DoubleOptions, type S3Fault, startS3Double } from '../../../test/doubles/s3/s3-double.ts'
import { createTestAuthority } from '../../nbd/client/test-authority.ts'
import { listKeys } from '../guarantee.ts'
import { retryingStore } from '../layers/retrying-store.ts'
import { describeObjectStore } from '../object-store.conformance.ts'
import { createSleepingClock } from '../sleeping-clock.ts'
import type { S3StoreSettings } from './s3-config.ts'
import { openS3Store } from './s3-store.ts'

const MIB = 1024 ** 2
const signal = AbortSignal.timeout(110_000)
const clock = createSleepingClock()
const small = { pageMax: 7, singlePutMaxBytes: 5 * MIB, partSizeBytes: 5 * MIB }
const large = { largeBytes: 6 * MIB + 3, runs: 15, clock }
const doubles = new AsyncDisposableStack()
afterAll(async () => await doubles.disposeAsync())

async function startStore(
  kind: { readonly versioned?: boolean; readonly objectLock?: boolean } = {},
  options: S3DoubleOptions = {},
  changes: Partial<S3StoreSettings> = {},
) {
  const double = doubles.use(await startS3Double({ now: () => clock.now(), ...options }))
  const { endpoint, credentials, region } = double
  const bucket = double.createBucket(kind)
  const store = await openS3Store(
    { bucket, endpoint, region, credentials: { ...credentials }, ...small, ...changes },
    { signal, clock },
  )
  return { double, bucket: double.bucket(bucket), store }
}

describeObjectStore('S3 double, a plain bucket', async () => (await startStore()).store, { ...large, abilities: [] })
describeObjectStore(
  'S3 double, versions and Object Lock',
  async () => (await startStore({ objectLock: true }, {}, { prefix: 'site/one/' })).store,
  { ...large, abilities: ['immutability'] },
)
describeObjectStore(
  'S3 double that refuses checksum headers, Object Lock',
  async () => (await startStore({ objectLock: true }, { checksumHeaders: 'refused' })).store,
  { ...large, abilities: ['immutability'] },
)
describeObjectStore(
  'retries over an S3 double that fails now and then',
  async () => {
    const random = seededRandom(11)
    const faults: readonly S3Fault[] = ['slow-down', 'internal-error', 'late-error', 'reset', 'late-reset', 'truncated']
    let opened = false
    const fault = (): S3Fault | undefined =>
      opened && random() < 0.12 ? faults[Math.floor(random() * faults.length)] : undefined
    const { store } = await startStore({ objectLock: true }, { fault })
    opened = true
    return retryingStore(store, { triesMax: 12, baseMs: 1, capMs: 10 })
  },
  { ...large, abilities: ['immutability'] },
)

/** A store whose next requests meet these faults, one each. */
async function failingStore(kind: { objectLock?: boolean } = {}, changes: Partial<S3StoreSettings> = {}) {
  const faults: (S3Fault | undefined)[] = []
  const started = await startStore(kind, { fault: () => faults.shift() }, changes)
  return { ...started, faults }
}

describe('what S3 answers with', () => {
  test.each([
    ['slow-down', 'storage.throttled'],
    ['internal-error', 'storage.unavailable'],
    ['late-error', 'storage.unavailable'],
    ['reset', 'storage.unreachable'],
    ['late-reset', 'storage.unreachable'],
    ['truncated', 'storage.unreachable'],
    ['stall', 'storage.timeout'],
  ] as const)('%s is %s', async (fault, code) => {
    const { store, faults } = await failingStore({}, { requestTimeoutMs: 300 })
    await store.put('a', Buffer.from('some content'), { signal })
    faults.push(fault)
    await expect(store.get('a', { signal })).rejects.toMatchObject({ code })
    expect(Buffer.from(await store.get('a', { signal })).toString()).toBe('some content')
  })

  test('an upload whose end is answered with 200 and an error is an error, and leaves no parts behind', async () => {
    const { store, bucket, faults } = await failingStore()
    faults.push(undefined, undefined, undefined, undefined, 'error-in-200')
    const put = store.put('a', seededBytes(1)(11 * MIB), { signal })
    await expect(put).rejects.toMatchObject({ code: 'storage.unavailable' })
    await store.delete('a', { signal })
    const broken = store.put(
      'b',
      { sizeBytes: 11 * MIB, read: async () => await Promise.reject(new Error('disk')) },
      { signal },
    )
    await expect(broken).rejects.toThrow('disk')
    expect(bucket.uploadCount).toBe(0)
    expect(await listKeys(store, '', { signal })).toEqual([])
  })

  test('a clock that is off is told, and the next request is right', async () => {
    const { store, double } = await startStore()
    await store.put('a', Uint8Array.of(1), { signal })
    double.setClockOffset(3_600_000)
    await expect(store.get('a', { signal })).rejects.toMatchObject({ code: 'storage.clock_skew' })
    expect(await store.get('a', { signal })).toEqual(Uint8Array.of(1))
  })

  test('nobody listens: unreachable; a bucket, a key or a region that is wrong: told apart', async () => {
    const double = doubles.use(await startS3Double())
    const { endpoint, credentials, region } = double
    const settings = { bucket: double.createBucket({}), endpoint, region, credentials: { ...credentials } }
    const open = async (changes: Partial<S3StoreSettings>) => await openS3Store({ ...settings, ...changes }, { signal })
    await expect(open({ bucket: 'no-such-bucket' })).rejects.toMatchObject({ code: 'storage.container_missing' })
    const wrong = { code: 'storage.credentials_invalid' }
    await expect(open({ credentials: { ...credentials, secretAccessKey: 'x' } })).rejects.toMatchObject(wrong)
    await expect(open({ credentials: { ...credentials, accessKeyId: 'x' } })).rejects.toMatchObject(wrong)
    await expect(open({ region: 'eu-west-9' })).rejects.toMatchObject({ code: 'storage.refused' })
    await expect(open({ endpoint: 'http://127.0.0.1:9' })).rejects.toMatchObject({ code: 'storage.unreachable' })
    await expect(open({ bucket: 'X' })).rejects.toMatchObject({ code: 'config.invalid' })
  })

  test('a bucket that is deleted under an open store is not an empty one', async () => {
    const { store, double } = await startStore()
    const { endpoint, credentials } = double
    await using other = await openS3Store(
      { bucket: double.createBucket({}), endpoint, credentials: { ...credentials } },
      { signal },
    )
    await other.put('a', Uint8Array.of(1), { signal })
    double.removeBuckets()
    const gone = { code: 'storage.container_missing' }
    await expect(store.find('a', { signal })).rejects.toMatchObject(gone)
    await expect(store.get('a', { signal })).rejects.toMatchObject(gone)
    await expect(store.delete('a', { signal })).rejects.toMatchObject(gone)
    await expect(listKeys(store, '', { signal })).rejects.toMatchObject(gone)
  })

  test('ranges of a large object are read side by side and never mixed with those of another content', async () => {
    let reads = 0
    const content = seededBytes(2)(20 * MIB)
    const started = await startStore({}, { fault: (operation) => void (reads += operation === 'GetObject' ? 1 : 0) })
    const { store, bucket } = started
    await store.put('a', content, { signal })
    reads = 0
    expect(Buffer.compare(await store.get('a', { signal }), content)).toBe(0)
    expect(reads).toBe(3)
    const changing: { bucket?: typeof bucket } = {}
    let count = 0
    const replace = (): undefined => void changing.bucket?.put('a', new Uint8Array(20 * MIB).fill((count += 1)), {})
    const second = await startStore({}, { fault: () => replace() })
    await second.store.put('a', content, { signal })
    changing.bucket = second.bucket
    const mixed = second.store.get('a', { signal })
    await expect(mixed.then((bytes) => Buffer.compare(bytes, content))).rejects.toMatchObject({
      code: 'storage.unavailable',
    })
  })

  test('a body is hashed by the server: the sender’s own hash is what it is signed with', async () => {
    const { store, double } = await startStore()
    const body = seededBytes(4)(100_000)
    const put = store.put('a', body, { signal, sha256: 'ab'.repeat(32) })
    await expect(put).rejects.toMatchObject({
      code: 'storage.checksum_mismatch',
      details: { s3Code: 'XAmzContentSHA256Mismatch' },
    })
    expect(double.log.at(-1)).toMatch(/^PUT/)
  })

  test('objects of any size go over connections that are kept', async () => {
    const { store, double } = await startStore()
    for (let count = 0; count < 4; count += 1) await store.put(`a${count}`, new Uint8Array(3 * MIB), { signal })
    for (let count = 0; count < 4; count += 1) await store.get(`a${count}`, { signal })
    expect(double.connectionCount()).toBe(1)
  })

  test('an endpoint of one’s own is trusted by its own authority only, beside the public ones', async () => {
    const authority = await createTestAuthority()
    const { certificatePem, keyPem } = await authority.issue({ names: ['127.0.0.1'] })
    const double = doubles.use(await startS3Double({ tls: { key: keyPem, cert: certificatePem } }))
    const { endpoint, credentials, region } = double
    const settings = { bucket: double.createBucket({}), endpoint, region, credentials: { ...credentials } }
    await expect(openS3Store(settings, { signal })).rejects.toMatchObject({ code: 'storage.unreachable' })
    const other = await createTestAuthority()
    const strange = openS3Store({ ...settings, certificateAuthorities: other.caPem }, { signal })
    await expect(strange).rejects.toMatchObject({ code: 'storage.unreachable' })
    await using store = await openS3Store({ ...settings, certificateAuthorities: authority.caPem }, { signal })
    const body = seededBytes(5)(3 * MIB)
    await store.put('a', body, { signal })
    expect(Buffer.compare(await store.get('a', { signal }), body)).toBe(0)
  })
})
