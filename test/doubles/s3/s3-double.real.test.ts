import { createHash } from 'node:crypto'
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
  PutObjectRetentionCommand,
  S3Client,
  type ServiceInputTypes,
  type ServiceOutputTypes,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import type { FinalizeRequestMiddleware } from '@smithy/types'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type S3Double, startS3Double } from './s3-double.ts'

const MIB = 1024 ** 2
const HOUR_MS = 3_600_000
let double: S3Double
let client: S3Client

beforeAll(async () => {
  double = await startS3Double()
  const { endpoint, credentials, region } = double
  client = new S3Client({ endpoint, region, credentials: { ...credentials }, forcePathStyle: true, maxAttempts: 1 })
})
afterAll(async () => {
  client?.destroy()
  await double?.[Symbol.asyncDispose]()
})

/** A client that changes each request after it was signed, as somebody on the way might. */
function tampering(change: (request: { headers: Record<string, string>; body?: unknown }) => void): S3Client {
  const { endpoint, credentials, region } = double
  const changed = new S3Client({
    endpoint,
    region,
    credentials: { ...credentials },
    forcePathStyle: true,
    maxAttempts: 1,
  })
  const middleware: FinalizeRequestMiddleware<ServiceInputTypes, ServiceOutputTypes> = (next) => async (call) => {
    change(call.request as { headers: Record<string, string> })
    return await next(call)
  }
  changed.middlewareStack.addRelativeTo(middleware, {
    relation: 'after',
    toMiddleware: 'httpSigningMiddleware',
    name: 'tamper',
  })
  return changed
}

describe('requests that Amazon refuses', () => {
  test('without a signature, with another one, or with headers that nobody signed', async () => {
    const Bucket = double.createBucket({})
    const put = new PutObjectCommand({ Bucket, Key: 'a', Body: 'x' })
    const unsigned = await fetch(`${double.endpoint}/${Bucket}/a`)
    expect([unsigned.status, (await unsigned.text()).includes('<Code>AccessDenied</Code>')]).toEqual([403, true])
    const other = tampering(({ headers }) => {
      headers['authorization'] = (headers['authorization'] ?? '').replace(/.{64}$/, 'ab'.repeat(32))
    })
    await expect(other.send(put)).rejects.toMatchObject({ name: 'SignatureDoesNotMatch' })
    const header = tampering(({ headers }) => (headers['x-amz-object-lock-legal-hold'] = 'OFF'))
    await expect(header.send(put)).rejects.toMatchObject({ name: 'AccessDenied' })
    const body = tampering((request) => (request.body = 'y'))
    await expect(body.send(put)).rejects.toMatchObject({ name: 'XAmzContentSHA256Mismatch' })
    await expect(client.send(new GetObjectCommand({ Bucket, Key: 'a' }))).rejects.toMatchObject({ name: 'NoSuchKey' })
  })

  test('with a checksum of another body', async () => {
    const Bucket = double.createBucket({})
    const ContentMD5 = createHash('md5').update('y').digest('base64')
    const wrong = client.send(new PutObjectCommand({ Bucket, Key: 'a', Body: 'x', ContentMD5 }))
    await expect(wrong).rejects.toMatchObject({ name: 'BadDigest' })
    const crc = client.send(new PutObjectCommand({ Bucket, Key: 'a', Body: 'x', ChecksumCRC32: 'AAAAAA==' }))
    await expect(crc).rejects.toMatchObject({ name: 'BadDigest' })
  })

  test('for what this double does not know: an operation, a parameter, a header', async () => {
    const Bucket = double.createBucket({})
    const unknown = { name: 'NotImplemented' }
    await expect(client.send(new GetObjectTaggingCommand({ Bucket, Key: 'a' }))).rejects.toMatchObject(unknown)
    const acl = client.send(new PutObjectCommand({ Bucket, Key: 'a', Body: 'x', ACL: 'private' }))
    await expect(acl).rejects.toMatchObject(unknown)
    const part = client.send(new GetObjectCommand({ Bucket, Key: 'a', PartNumber: 1 }))
    await expect(part).rejects.toMatchObject(unknown)
    await expect(client.send(new PutObjectCommand({ Bucket: 'none', Key: 'a', Body: 'x' }))).rejects.toMatchObject({
      name: 'NoSuchBucket',
    })
  })
})

describe('rules of uploads in parts', () => {
  test('parts but the last have 5 MiB, are named in order with what they were answered with', async () => {
    const Bucket = double.createBucket({})
    const target = { Bucket, Key: 'big' }
    const { UploadId } = await client.send(new CreateMultipartUploadCommand(target))
    const upload = async (PartNumber: number, bytes: number) => {
      const part = await client.send(
        new UploadPartCommand({ ...target, UploadId, PartNumber, Body: new Uint8Array(bytes) }),
      )
      return { PartNumber, ETag: part.ETag }
    }
    const [small, full, last] = [await upload(1, 1000), await upload(2, 5 * MIB), await upload(3, 7)]
    const complete = async (Parts: { PartNumber: number; ETag: string | undefined }[]) =>
      await client.send(new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts } }))
    await expect(complete([small, full])).rejects.toMatchObject({ name: 'EntityTooSmall' })
    await expect(complete([last, full])).rejects.toMatchObject({ name: 'InvalidPartOrder' })
    await expect(complete([{ ...full, ETag: '"00"' }])).rejects.toMatchObject({ name: 'InvalidPart' })
    await expect(upload(10_001, 1)).rejects.toMatchObject({ name: 'InvalidArgument' })
    await complete([full, last])
    await expect(complete([full, last])).rejects.toMatchObject({ name: 'NoSuchUpload' })
    const found = await client.send(new GetObjectCommand(target))
    expect(found.ContentLength).toBe(5 * MIB + 7)
    expect(found.ETag).toMatch(/^"[0-9a-f]{32}-2"$/)
  })
})

const lock = (mode: 'COMPLIANCE' | 'GOVERNANCE', inMs: number) => ({
  ObjectLockMode: mode,
  ObjectLockRetainUntilDate: new Date(Date.now() + inMs),
})

describe('rules of Object Lock', () => {
  test('a bucket without it, a date in the past, a body without a checksum are refused', async () => {
    const Bucket = double.createBucket({ objectLock: true })
    const put = { Key: 'a', Body: 'x' }
    const plain = client.send(
      new PutObjectCommand({ Bucket: double.createBucket({}), ...put, ...lock('COMPLIANCE', HOUR_MS) }),
    )
    await expect(plain).rejects.toMatchObject({ name: 'InvalidRequest' })
    const past = client.send(new PutObjectCommand({ Bucket, ...put, ...lock('COMPLIANCE', -HOUR_MS) }))
    await expect(past).rejects.toMatchObject({ name: 'InvalidArgument' })
    const { endpoint, credentials, region } = double
    const careless = new S3Client({
      endpoint,
      region,
      credentials: { ...credentials },
      forcePathStyle: true,
      maxAttempts: 1,
      requestChecksumCalculation: 'WHEN_REQUIRED',
    })
    const unchecked = careless.send(new PutObjectCommand({ Bucket, ...put, ...lock('COMPLIANCE', HOUR_MS) }))
    await expect(unchecked).rejects.toMatchObject({ name: 'InvalidRequest' })
  })

  test('what is locked is neither deleted nor loosened; governance gives way to who has the right', async () => {
    const Bucket = double.createBucket({ objectLock: true })
    for (const mode of ['COMPLIANCE', 'GOVERNANCE'] as const) {
      const put = await client.send(new PutObjectCommand({ Bucket, Key: mode, Body: 'x', ...lock(mode, HOUR_MS) }))
      const version = { Bucket, Key: mode, VersionId: put.VersionId }
      await expect(client.send(new DeleteObjectCommand(version))).rejects.toMatchObject({ name: 'AccessDenied' })
      const Retention = { Mode: mode, RetainUntilDate: new Date(Date.now() + HOUR_MS / 2) }
      const shorter = client.send(new PutObjectRetentionCommand({ ...version, Retention }))
      await expect(shorter).rejects.toMatchObject({ name: 'AccessDenied' })
      const batch = await client.send(
        new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: mode, VersionId: put.VersionId }] } }),
      )
      expect(batch.Errors?.map(({ Code }) => Code)).toEqual(['AccessDenied'])
      const bypass = client.send(new DeleteObjectCommand({ ...version, BypassGovernanceRetention: true }))
      const [end] = await Promise.allSettled([bypass])
      expect(end.status).toBe(mode === 'GOVERNANCE' ? 'fulfilled' : 'rejected')
    }
  })

  test('a delete without a version hides, and nothing is lost', async () => {
    const Bucket = double.createBucket({ objectLock: true })
    const put = await client.send(new PutObjectCommand({ Bucket, Key: 'a', Body: 'x', ...lock('COMPLIANCE', HOUR_MS) }))
    const deleted = await client.send(new DeleteObjectCommand({ Bucket, Key: 'a' }))
    expect(deleted.DeleteMarker).toBe(true)
    await expect(client.send(new GetObjectCommand({ Bucket, Key: 'a' }))).rejects.toMatchObject({ name: 'NoSuchKey' })
    const version = await client.send(new GetObjectCommand({ Bucket, Key: 'a', VersionId: put.VersionId }))
    expect(await version.Body?.transformToString()).toBe('x')
    const listed = await client.send(new ListObjectVersionsCommand({ Bucket, MaxKeys: 1 }))
    expect([listed.IsTruncated, listed.DeleteMarkers?.length, listed.NextKeyMarker]).toEqual([true, 1, 'a'])
  })
})

test('If-None-Match keeps an object, or is ignored by the flavour that plays Ceph', async () => {
  const Bucket = double.createBucket({})
  const put = { Key: 'a', Body: 'x', IfNoneMatch: '*' }
  await client.send(new PutObjectCommand({ Bucket, ...put }))
  await expect(client.send(new PutObjectCommand({ Bucket, ...put }))).rejects.toMatchObject({
    name: 'PreconditionFailed',
  })
  await using ceph = await startS3Double({ ifNoneMatch: 'ignored', checksumHeaders: 'taken' })
  const { endpoint, credentials, region } = ceph
  const other = new S3Client({
    endpoint,
    region,
    credentials: { ...credentials },
    forcePathStyle: true,
    maxAttempts: 1,
  })
  const bucket = ceph.createBucket({ versioned: true })
  await other.send(new PutObjectCommand({ Bucket: bucket, ...put }))
  await other.send(new PutObjectCommand({ Bucket: bucket, ...put }))
  other.destroy()
})
