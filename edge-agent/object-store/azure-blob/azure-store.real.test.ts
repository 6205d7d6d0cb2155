import { randomUUID } from 'node:crypto'
import { BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Azurite, startAzurite } from '../../../test/harness/azurite.ts'
import { listKeys } from '../guarantee.ts'
import { describeObjectStore } from '../object-store.conformance.ts'
import type { AzureStoreSettings } from './azure-config.ts'
import { openAzureStore } from './azure-store.ts'

const MIB = 1024 ** 2
const signal = AbortSignal.timeout(300_000)
let azurite: Azurite
let service: BlobServiceClient

beforeAll(async () => {
  azurite = await startAzurite()
  service = new BlobServiceClient(azurite.endpoint, new StorageSharedKeyCredential(azurite.account, azurite.accountKey))
})
afterAll(async () => await azurite?.[Symbol.asyncDispose]())

async function settings(): Promise<AzureStoreSettings> {
  const container = `c-${randomUUID()}`
  await service.createContainer(container)
  const { account, accountKey, endpoint } = azurite
  const small = { pageMax: 7, singlePutMaxBytes: MIB, blockSizeBytes: MIB }
  return { account, container, endpoint, credentials: { accountKey }, ...small }
}

describeObjectStore('Azurite', async () => await openAzureStore(await settings(), { signal }), {
  abilities: ['tiers'],
  runs: 15,
})
describeObjectStore(
  'Azurite, below a prefix',
  async () => await openAzureStore({ ...(await settings()), prefix: 'site/one/' }, { signal }),
  { abilities: ['tiers'], runs: 15 },
)

describe('a container of Azurite', () => {
  test('blobs of others are not listed; a container that is gone is told apart from an object that is gone', async () => {
    const place = await settings()
    const store = await openAzureStore({ ...place, prefix: 'p/' }, { signal })
    const container = service.getContainerClient(place.container)
    for (const name of ['other', 'p/.hidden', 'p/with space', 'p/good']) {
      await container.getBlockBlobClient(name).upload('x', 1)
    }
    expect(await listKeys(store, '', { signal })).toEqual(['good'])
    await container.delete()
    const gone = { code: 'storage.container_missing' }
    await expect(store.find('good', { signal })).rejects.toMatchObject(gone)
    await expect(store.get('good', { signal })).rejects.toMatchObject(gone)
    await expect(store.put('good', Uint8Array.of(1), { signal })).rejects.toMatchObject(gone)
    await expect(store.delete('good', { signal })).rejects.toMatchObject(gone)
    await expect(listKeys(store, '', { signal })).rejects.toMatchObject(gone)
    await expect(openAzureStore(place, { signal })).rejects.toMatchObject(gone)
  })

  test('a wrong key, a wrong port and wrong settings are told apart', async () => {
    const place = await settings()
    const open = async (changes: Partial<AzureStoreSettings>) =>
      await openAzureStore({ ...place, ...changes }, { signal })
    const accountKey = Buffer.from('wrong').toString('base64')
    // Azure says AuthenticationFailed, Azurite AuthorizationFailure.
    const refused = expect.stringMatching(/^storage\.(credentials_invalid|access_denied)$/)
    await expect(open({ credentials: { accountKey } })).rejects.toMatchObject({ code: refused })
    await expect(open({ endpoint: 'http://127.0.0.1:9/x' })).rejects.toMatchObject({ code: 'storage.unreachable' })
    await expect(open({ container: 'UPPER' })).rejects.toMatchObject({ code: 'config.invalid' })
  })

  test('snapshots go with their object', async () => {
    const place = await settings()
    const store = await openAzureStore(place, { signal })
    await store.put('a', Uint8Array.of(1), { signal })
    await service.getContainerClient(place.container).getBlobClient('a').createSnapshot()
    await store.delete('a', { signal })
    expect(await store.find('a', { signal })).toBeUndefined()
  })
})
