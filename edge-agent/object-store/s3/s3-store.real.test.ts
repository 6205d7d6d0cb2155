import { randomUUID } from 'node:crypto'
import {
  CreateBucketCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type CephObjectGateway, startCephObjectGateway } from '../../../test/harness/ceph-object-gateway.ts'
import { listKeys } from '../guarantee.ts'
import { describeObjectStore } from '../object-store.conformance.ts'
import { validateStore } from '../validate-store.ts'
import { S3StoreConfig } from './s3-config.ts'
import { openS3Store } from './s3-store.ts'

const MIB = 1024 ** 2
const signal = AbortSignal.timeout(300_000)
let ceph: CephObjectGateway
let client: S3Client

beforeAll(async () => {
  ceph = await startCephObjectGateway()
  const { endpoint, credentials } = ceph
  // The SDK writes into the credentials that it is given.
  client = new S3Client({
    endpoint,
    credentials: { ...credentials },
    region: 'us-east-1',
    forcePathStyle: true,
    maxAttempts: 1,
  })
}, 120_000)
afterAll(async () => {
  client?.destroy()
  await ceph?.[Symbol.asyncDispose]()
})

type Kind = 'plain' | 'versioned' | 'locked'

async function makeBucket(kind: Kind): Promise<string> {
  const Bucket = `bucket-${randomUUID()}`
  await client.send(new CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: kind === 'locked' }))
  if (kind === 'versioned') {
    const VersioningConfiguration = { Status: 'Enabled' } as const
    await client.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration }))
  }
  return Bucket
}

function settings(bucket: string) {
  const { endpoint, credentials } = ceph
  return { bucket, endpoint, credentials, pageMax: 7, singlePutMaxBytes: 5 * MIB, partSizeBytes: 5 * MIB }
}

const large = { largeBytes: 11 * MIB + 3, runs: 15 }

describeObjectStore(
  'Ceph, a plain bucket',
  async () => await openS3Store(settings(await makeBucket('plain')), { signal }),
  {
    ...large,
    abilities: [],
  },
)
describeObjectStore(
  'Ceph, versions and Object Lock, below a prefix',
  async () => await openS3Store({ ...settings(await makeBucket('locked')), prefix: 'site/one/' }, { signal }),
  { ...large, abilities: ['immutability'] },
)

describe('a bucket of Ceph', () => {
  test('versions that others left are found, read, and deleted with their object', async () => {
    const bucket = await makeBucket('versioned')
    await using store = await openS3Store({ ...settings(bucket), prefix: 'p/' }, { signal })
    for (const text of ['first', 'second', 'third']) await store.put('a', Buffer.from(text), { signal })
    await store.put('a-longer-key', Buffer.from('x'), { signal })
    const found = []
    for await (const page of store.versions?.list('a', { signal }) ?? []) found.push(...page)
    const ofA = found.filter(({ key }) => key === 'a')
    expect(ofA.map(({ current }) => current)).toEqual([true, false, false])
    const contents: string[] = []
    for (const { key, versionId } of ofA) {
      contents.push(Buffer.from((await store.versions?.get(key, versionId, { signal })) ?? []).toString())
    }
    expect(contents.toSorted()).toEqual(['first', 'second', 'third'])
    await store.delete('a', { signal })
    const left = []
    for await (const page of store.versions?.list('', { signal }) ?? []) left.push(...page)
    expect(left.map(({ key }) => key)).toEqual(['a-longer-key'])
  })

  test('keys of others in the bucket are not listed', async () => {
    const bucket = await makeBucket('plain')
    await using store = await openS3Store({ ...settings(bucket), prefix: 'p/' }, { signal })
    for (const Key of ['other', 'p/.hidden', 'p/with space', 'p', 'p/good']) {
      await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: 'x' }))
    }
    expect(await listKeys(store, '', { signal })).toEqual(['good'])
  })

  test('a bucket that is gone is told apart from an object that is gone', async () => {
    const call = openS3Store(settings('no-such-bucket'), { signal })
    await expect(call).rejects.toMatchObject({ code: 'storage.container_missing' })
  })

  test('wrong keys are told apart from a missing right', async () => {
    const bucket = await makeBucket('plain')
    const credentials = { ...ceph.credentials, secretAccessKey: 'wrong' }
    await expect(openS3Store({ ...settings(bucket), credentials }, { signal })).rejects.toMatchObject({
      code: 'storage.credentials_invalid',
    })
    const unknown = { ...ceph.credentials, accessKeyId: 'NOBODY' }
    await expect(openS3Store({ ...settings(bucket), credentials: unknown }, { signal })).rejects.toMatchObject({
      code: 'storage.credentials_invalid',
    })
  })
})

test('a trial of a Ceph bucket with Object Lock: every promise is kept, its quirks are found, nothing is left', async () => {
  const bucket = await makeBucket('locked')
  const config = { kind: 's3', ...S3StoreConfig.parse(settings(bucket)) } as const
  const report = await validateStore(config, { signal, retainForMs: 6000 })
  expect(report.guarantees.filter(({ outcome }) => outcome === 'broken')).toEqual([])
  expect(report.leftBehind).toEqual([])
  const outcomes = Object.fromEntries(report.findings.map(({ capability, outcome }) => [capability, outcome]))
  expect(outcomes).toEqual({
    'clock': 'works',
    'versioning': 'works',
    'range-reads': 'works',
    'multipart': 'works',
    'payload-hash': 'works',
    'checksum-headers': 'wrong',
    'batch-delete': 'works',
    'conditional-put': 'wrong',
    'object-lock': 'works',
    'governance': 'works',
    'compliance': 'works',
    'legal-hold': 'works',
    'retention-of-multipart': 'wrong',
  })
  expect(report.vendor).toBe('Ceph')
  expect(report.quirks.length).toBeGreaterThan(2)
  const versions = await client.send(new ListObjectVersionsCommand({ Bucket: bucket }))
  expect([versions.Versions ?? [], versions.DeleteMarkers ?? []]).toEqual([[], []])
})
