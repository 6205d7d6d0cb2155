import { describe, expect, test } from 'vitest'
import { parseStoreConfig, parseStoreUrl } from './object-store-config.ts'
import { guessVendor, quirksOf } from './quirk-table.ts'

const s3 = { accessKeyId: 'AK', secretAccessKey: 'SK' }
const azure = { accountKey: 'a2V5' }

describe('the URL of a storage', () => {
  test('a directory, with what must be mounted where', () => {
    expect(parseStoreUrl('file:///mnt/nas/backups%20of%20us?mountPoint=/mnt/nas', {})).toEqual({
      kind: 'directory',
      directory: '/mnt/nas/backups of us',
      mountPoint: '/mnt/nas',
    })
  })

  test('a bucket with prefix, endpoint and settings', () => {
    const text =
      's3://bucket/a/b?endpoint=https://s3.example.net:9000&region=eu-1&pathStyle=false&partSizeBytes=8388608'
    expect(parseStoreUrl(text, { s3 })).toMatchObject({
      kind: 's3',
      bucket: 'bucket',
      prefix: 'a/b/',
      endpoint: 'https://s3.example.net:9000',
      region: 'eu-1',
      pathStyle: false,
      partSizeBytes: 8_388_608,
      credentials: s3,
    })
    expect(parseStoreUrl('s3://bucket', { s3 })).not.toHaveProperty('prefix')
  })

  test('a container with prefix', () => {
    expect(parseStoreUrl('azure://account/container/p/', { azure })).toMatchObject({
      kind: 'azure-blob',
      account: 'account',
      container: 'container',
      prefix: 'p/',
      credentials: azure,
    })
  })

  test.each([
    ['nonsense', {}],
    ['ftp://host/dir', {}],
    ['s3://bucket', {}],
    ['azure://account/container', {}],
    ['azure://account', { azure }],
    ['s3://bucket?regoin=eu-1', { s3 }],
    ['s3://bucket?endpoint=gopher://x', { s3 }],
    ['s3://bucket/sp%20ace', { s3 }],
  ])('%s is refused', (text, credentials) => {
    expect(() => parseStoreUrl(text, credentials)).toThrow(expect.objectContaining({ code: 'config.invalid' }))
  })

  test('a refusal names the setting and never a key', () => {
    const config = { kind: 's3', bucket: 'bucket', credentials: { ...s3, secretAccessKey: 7 }, part: 1 }
    expect(() => parseStoreConfig(config)).toThrow(/credentials\.secretAccessKey.*part/)
    const url = 's3://bucket?partSizeBytes=1'
    expect(() => parseStoreUrl(url, { s3: { ...s3, secretAccessKey: 'very-secret' } })).not.toThrow(/very-secret/)
  })
})

test.each([
  ['s3.eu-central-1.amazonaws.com', undefined, 'Amazon S3'],
  ['s3.eu-central-2.wasabisys.com', undefined, 'Wasabi'],
  ['s3.us-west-004.backblazeb2.com', undefined, 'Backblaze B2'],
  ['account.blob.core.windows.net', undefined, 'Azure Blob'],
  ['10.0.0.1:9000', 'MinIO', 'MinIO'],
  ['10.0.0.1:7480', 'Ceph Object Gateway (tentacle)', 'Ceph'],
  ['notamazonaws.com', undefined, undefined],
  ['amazonaws.com.evil.example', 'nginx', undefined],
])('%s with server %s is %s', (host, server, vendor) => {
  expect(guessVendor(host, server)).toBe(vendor)
})

test('every vendor has quirks, each with what follows from it and where it is from', () => {
  for (const vendor of ['Amazon S3', 'Wasabi', 'Backblaze B2', 'MinIO', 'Ceph', 'Azure Blob'] as const) {
    const quirks = quirksOf(vendor)
    expect(quirks.length).toBeGreaterThan(0)
    for (const { fact, consequence, source } of quirks) {
      expect([fact, consequence, source].every((text) => text.length > 10)).toBe(true)
    }
  }
  expect(quirksOf(undefined)).toEqual([])
})
