import { randomBytes, randomUUID } from 'node:crypto'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Azurite, startAzurite } from '../../../test/harness/azurite.ts'
import { type CephObjectGateway, startCephObjectGateway } from '../../../test/harness/ceph-object-gateway.ts'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { createMover } from '../../mover/create-mover.ts'
import { openNbdSource } from '../../nbd/client/nbd-source.ts'
import { startNbdkit } from '../../nbd/client/real-nbd-server.ts'
import { faultyStore } from '../../object-store/layers/faulty-store.ts'
import { retryingStore } from '../../object-store/layers/retrying-store.ts'
import { openLocalStore } from '../../object-store/local/local-store.ts'
import { temporaryDirectory } from '../../object-store/local/temporary-directory.ts'
import { createMemoryStore } from '../../object-store/memory/memory-store.ts'
import { type ObjectStoreConfig, parseStoreConfig } from '../../object-store/object-store-config.ts'
import type { ObjectStore } from '../../object-store/object-store.ts'
import { openObjectStore } from '../../object-store/open-object-store.ts'
import { backUp, newBackupOf, restoreAll, sealFactsOf } from '../repository-scenario.ts'
import { describeRepository } from '../repository.conformance.ts'
import type { RepositoryFixture } from '../scenario-guest.ts'
import { CHUNK_DISK_OPENER } from './chunk-disk-address.ts'
import { createMemoryPackCatalogue } from './index/memory-pack-catalogue.ts'
import { lentStore, makeTestChunkRepository } from './test-chunk-repository.ts'

const signal = AbortSignal.timeout(600_000)
const OPENER_URL = new URL('chunk-disk-opener.ts', import.meta.url).href
const space = { capacityBytes: 1e9, freeBytes: 1e9 }
let ceph: CephObjectGateway
let azurite: Azurite

beforeAll(async () => {
  azurite = await startAzurite()
  ceph = await startCephObjectGateway()
}, 120_000)
afterAll(async () => {
  await azurite?.[Symbol.asyncDispose]()
  await ceph?.[Symbol.asyncDispose]()
})

describeRepository(
  'chunks in a directory',
  async () => {
    const directory = await temporaryDirectory()
    await openLocalStore({ directory: directory.path, create: { worm: false }, signal })
    return await fixtureOf(parseStoreConfig({ kind: 'directory', directory: directory.path }), directory)
  },
  { chains: 'none' },
)

describeRepository('chunks on Ceph', async () => await fixtureOf(await makeBucket(false)), { chains: 'none' })

describeRepository(
  'chunks on Azurite',
  async () => {
    const { account, accountKey, endpoint } = azurite
    const container = `c-${randomUUID()}`
    await new BlobServiceClient(endpoint, new StorageSharedKeyCredential(account, accountKey)).createContainer(
      container,
    )
    const place = { kind: 'azure-blob', account, container, endpoint, credentials: { accountKey } }
    return await fixtureOf(parseStoreConfig(place))
  },
  { chains: 'none' },
)

describeRepository(
  'chunks on a store that fails and loses answers',
  async () => {
    const store = createMemoryStore()
    // Waits as short as those of a test: the repository's own retries come around.
    const faulty = (): ObjectStore =>
      retryingStore(faultyStore(store, { seed: 11, errorRate: 0.05, lateErrorRate: 0.05 }), { triesMax: 2, baseMs: 1 })
    const made = await makeTestChunkRepository(lentStore(store), { signal })
    const reopen = async () => await made.open({ store: faulty(), measureSpace: async () => space })
    return { repository: await reopen(), reopen, [Symbol.asyncDispose]: async () => undefined }
  },
  { chains: 'none' },
)

async function fixtureOf(config: ObjectStoreConfig, owned?: AsyncDisposable): Promise<RepositoryFixture> {
  const openStore = async (): Promise<ObjectStore> => await openObjectStore(config, { signal })
  const made = await makeTestChunkRepository(openStore, { signal }, config)
  const opened: AsyncDisposable[] = []
  const reopen = async () => {
    const repository = await made.open({ measureSpace: async () => space })
    opened.push(repository)
    return repository
  }
  return {
    repository: await reopen(),
    reopen,
    [Symbol.asyncDispose]: async () => {
      for (const repository of opened) await repository[Symbol.asyncDispose]()
      await owned?.[Symbol.asyncDispose]()
    },
  }
}

async function makeContainer(): Promise<ObjectStoreConfig> {
  const { account, accountKey, endpoint } = azurite
  const container = `c-${randomUUID()}`
  await new BlobServiceClient(endpoint, new StorageSharedKeyCredential(account, accountKey)).createContainer(container)
  return parseStoreConfig({ kind: 'azure-blob', account, container, endpoint, credentials: { accountKey } })
}

async function makeBucket(locked: boolean): Promise<ObjectStoreConfig> {
  const { endpoint, credentials } = ceph
  const bucket = `bucket-${randomUUID()}`
  const options = { endpoint, credentials: { ...credentials }, region: 'us-east-1', forcePathStyle: true }
  const client = new S3Client(options)
  await client.send(new CreateBucketCommand({ Bucket: bucket, ObjectLockEnabledForBucket: locked }))
  client.destroy()
  return parseStoreConfig({ kind: 's3', bucket, endpoint, credentials })
}

test('on Ceph with Object Lock an agent that deletes all it can leaves every protected restore point whole', async () => {
  const config = await makeBucket(true)
  const openStore = async (): Promise<ObjectStore> => await openObjectStore(config, { signal })
  const made = await makeTestChunkRepository(openStore, { signal }, config)
  const settings = { protection: { mode: 'governance', days: 1 } } as const
  await using repository = await made.open({ settings })
  const content = randomBytes(2 * 1024 * 1024)
  const source = createMemoryDisk({ sizeBytes: content.length, content })
  const disks = [{ diskId: 'disk0', sizeBytes: content.length, mode: 'full', source } as const]
  const { manifest } = await backUp(repository, { vmId: randomUUID(), disks }, { signal })
  const { restorePointId, protectedUntil } = manifest
  expect(Date.parse(protectedUntil ?? '')).toBeGreaterThan(Date.now() + 24 * 3_600_000)
  const deleting = repository.deleteRestorePoint(restorePointId, { signal })
  await expect(deleting).rejects.toMatchObject({ code: 'storage.immutable' })
  await using intruder = await openStore()
  const kept: string[] = []
  for await (const page of intruder.list('', { signal })) {
    for (const { key } of page) await intruder.delete(key, { signal }).catch(() => kept.push(key))
  }
  const kinds = new Set(kept.map((key) => key.split('/', 1)[0]))
  expect(kinds).toEqual(new Set(['idx', 'keys', 'packs', 'repo.json', 'rp', 'sets', 'signers']))
  await using again = await made.open({ catalogue: createMemoryPackCatalogue(), settings })
  const restored = await restoreAll(again, restorePointId, { signal })
  expect(Buffer.compare(restored.get('disk0') ?? new Uint8Array(), content)).toBe(0)
})

test('on Ceph and on Azurite the threads of the mover write and read by themselves', async () => {
  await using mover = createMover({ threadsMax: 2, openers: { [CHUNK_DISK_OPENER]: OPENER_URL } })
  await using server = await startNbdkit(['pattern', String(64 * 1024 * 1024)])
  for (const config of [await makeBucket(false), await makeContainer()]) {
    const openStore = async (): Promise<ObjectStore> => await openObjectStore(config, { signal })
    const made = await makeTestChunkRepository(openStore, { signal }, config)
    await using repository = await made.open({ settings: { packSizeBytes: 4 * 1024 * 1024 } })
    await using source = await openNbdSource(server.endpoint, { signal })
    const { sizeBytes } = source
    const asked = newBackupOf({ vmId: randomUUID(), disks: [{ diskId: 'disk0', sizeBytes, mode: 'full', source }] })
    await using writer = await repository.openBackup(asked, { signal })
    const { sink, chunkIds } = writer.disks.get('disk0') ?? missing('the disk')
    const { idKey } = repository
    const copied = await mover.copyBackup({ mode: 'full', source, sink, chunkIds, idKey }, { signal })
    expect(sink.endpoint?.kind).toBe('opener')
    const facts = sealFactsOf(asked, { takenAt: new Date(), copied: new Map([['disk0', copied]]) })
    const { manifest } = await writer.seal(facts, { signal })
    await using reader = await repository.openRestorePoint(manifest.restorePointId, { signal })
    const disk = reader.disks.get('disk0') ?? missing('the disk of the restore point')
    const checked = await mover.copyRestore({ source: disk.source, chunkIds: disk.chunkIds, idKey }, { signal })
    expect(checked.readBytes).toBe(sizeBytes)
  }
})

function missing(what: string): never {
  throw new Error(`${what} is missing`)
}
