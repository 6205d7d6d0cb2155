import { BlobServiceClient, type ContainerClient, StorageSharedKeyCredential } from '@azure/storage-blob'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AzureDouble, startAzureImmutabilityDouble } from './azure-immutability-double.ts'

const HOUR_MS = 3_600_000
let double: AzureDouble
let container: ContainerClient

beforeAll(async () => {
  double = await startAzureImmutabilityDouble()
  container = clientOf(double.accountKey).getContainerClient(double.containerName)
})
afterAll(async () => await double?.[Symbol.asyncDispose]())

function clientOf(accountKey: string): BlobServiceClient {
  const credential = new StorageSharedKeyCredential(double.account, accountKey)
  return new BlobServiceClient(double.endpoint, credential, { retryOptions: { maxTries: 1 } })
}

const id = (text: string): string => Buffer.from(text).toString('base64')
const inHours = (hours: number): Date => new Date(Math.floor(Date.now() / 1000) * 1000 + hours * HOUR_MS)

describe('requests that Azure refuses', () => {
  test('without a signature, with another key, with a checksum of another body', async () => {
    const unsigned = await fetch(`${double.endpoint}/${double.containerName}/a`)
    expect(unsigned.headers.get('x-ms-error-code')).toMatch(/Authentication/)
    const other = clientOf(Buffer.from('other').toString('base64')).getContainerClient(double.containerName)
    await expect(other.getProperties()).rejects.toMatchObject({ statusCode: 403, code: 'AuthenticationFailed' })
    const blobHTTPHeaders = { blobContentMD5: new Uint8Array(16) }
    const wrong = container.getBlockBlobClient('md5').upload('x', 1, { blobHTTPHeaders })
    await expect(wrong).rejects.toMatchObject({ code: 'Md5Mismatch' })
  })

  test('for what this double does not know: an operation, a header, another container', async () => {
    const unknown = { statusCode: 501, code: 'APINotImplemented' }
    const blob = container.getBlockBlobClient('a')
    await blob.upload('x', 1)
    await expect(blob.createSnapshot()).rejects.toMatchObject(unknown)
    await expect(blob.setAccessTier('Cool')).rejects.toMatchObject(unknown)
    await expect(blob.upload('x', 1, { metadata: { a: 'b' } })).rejects.toMatchObject(unknown)
    const other = clientOf(double.accountKey).getContainerClient('other')
    await expect(other.getProperties()).rejects.toMatchObject({ statusCode: 404 })
  })

  test('blocks that were never put, and ids of different lengths', async () => {
    const blob = container.getBlockBlobClient('blocks')
    await blob.stageBlock(id('aaaa'), 'x', 1)
    await expect(blob.stageBlock(id('b'.repeat(10)), 'x', 1)).rejects.toMatchObject({ code: 'InvalidBlobOrBlock' })
    await expect(blob.commitBlockList([id('zzzz')])).rejects.toMatchObject({ code: 'InvalidBlockList' })
    await expect(blob.getProperties()).rejects.toMatchObject({ statusCode: 404 })
    await blob.commitBlockList([id('aaaa')])
    expect((await blob.getProperties()).contentLength).toBe(1)
  })
})

describe('rules of version-level immutability', () => {
  test('a locked policy is only extended; an unlocked one may be shortened, lifted and locked', async () => {
    const locked = container.getBlockBlobClient('locked')
    await locked.upload('x', 1, { immutabilityPolicy: { expiriesOn: inHours(2), policyMode: 'Locked' } })
    const immutable = { statusCode: 409, code: 'BlobImmutableDueToPolicy' }
    const shorter = { expiriesOn: inHours(1), policyMode: 'Locked' } as const
    await expect(locked.setImmutabilityPolicy(shorter)).rejects.toMatchObject(immutable)
    await expect(locked.deleteImmutabilityPolicy()).rejects.toMatchObject(immutable)
    await expect(locked.delete()).rejects.toMatchObject(immutable)
    await locked.setImmutabilityPolicy({ expiriesOn: inHours(3), policyMode: 'Locked' })
    const unlocked = container.getBlockBlobClient('unlocked')
    await unlocked.upload('x', 1, { immutabilityPolicy: { expiriesOn: inHours(2), policyMode: 'Unlocked' } })
    await unlocked.setImmutabilityPolicy({ expiriesOn: inHours(1), policyMode: 'Unlocked' })
    await expect(unlocked.delete()).rejects.toMatchObject(immutable)
    await unlocked.deleteImmutabilityPolicy()
    await unlocked.delete()
    const past = unlocked.upload('x', 1, { immutabilityPolicy: { expiriesOn: inHours(-1), policyMode: 'Locked' } })
    await expect(past).rejects.toMatchObject({ code: 'InvalidHeaderValue' })
  })

  test('the current version cannot be deleted by its id; a former one can, unless it is held', async () => {
    const blob = container.getBlockBlobClient('versions')
    const first = await blob.upload('1', 1)
    const second = await blob.upload('2', 1)
    const current = blob.withVersion(second.versionId ?? '')
    await expect(current.delete()).rejects.toMatchObject({ code: 'OperationNotAllowedOnRootBlob' })
    const former = blob.withVersion(first.versionId ?? '')
    await former.setLegalHold(true)
    await expect(former.delete()).rejects.toMatchObject({ statusCode: 409, code: 'BlobImmutableDueToLegalHold' })
    await former.setLegalHold(false)
    await former.delete()
    await blob.delete()
    await expect(blob.getProperties()).rejects.toMatchObject({ statusCode: 404 })
    expect((await current.getProperties()).contentLength).toBe(1)
  })
})
