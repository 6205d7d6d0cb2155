import { randomUUID } from 'node:crypto'
import { generateSigningKey, type SigningKey } from '@sendense/shared/runtime/signing.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { ObjectStoreConfig } from '../../object-store/object-store-config.ts'
import type { ObjectStore } from '../../object-store/object-store.ts'
import type { ChunkRepository } from './chunk-repository.ts'
import { createChunkRepository } from './create-chunk-repository.ts'
import { createMemoryPackCatalogue } from './index/memory-pack-catalogue.ts'
import type { PackCatalogue } from './index/pack-catalogue.ts'
import type { KeyRing } from './keys/key-ring.ts'
import { generateRecipientKey, newKeyRecipient } from './keys/recipients.ts'
import { type OpenChunkRepositoryOptions, openChunkRepository } from './open-chunk-repository.ts'

export const TEST_CHUNK_BYTES = 64 * 1024
/** Small, so that a test fills several. */
const PACK_BYTES = 256 * 1024

/** A chunk repository for tests, and what it takes to open it again. */
export interface TestChunkRepository {
  readonly repositoryId: string
  readonly keys: KeyRing
  readonly signingKey: SigningKey
  readonly agentId: string
  readonly catalogue: PackCatalogue
  open(changes?: Partial<OpenChunkRepositoryOptions>): Promise<ChunkRepository>
}

/** @param openStore opens the same, empty store each time */
export async function makeTestChunkRepository(
  openStore: () => Promise<ObjectStore>,
  call: CallOptions,
  storeConfig?: ObjectStoreConfig,
  { chunkSizeBytes = TEST_CHUNK_BYTES }: { readonly chunkSizeBytes?: number } = {},
): Promise<TestChunkRepository> {
  const repositoryId = randomUUID()
  const agentId = randomUUID()
  const signingKey = generateSigningKey()
  const catalogue = createMemoryPackCatalogue()
  const createdAt = new Date()
  const agent = newKeyRecipient('agent', generateRecipientKey(), {
    recipientId: randomUUID(),
    label: 'test',
    createdAt,
  })
  await using store = await openStore()
  const what = { repositoryId, chunkSizeBytes, createdAt, recipients: [agent] }
  const keys = await createChunkRepository({ store, ...what }, call)
  return {
    repositoryId,
    keys,
    signingKey,
    agentId,
    catalogue,
    open: async (changes = {}) => {
      const shared = {
        keys,
        agentId,
        signingKey,
        catalogue,
        trustedPublicKeys: [],
      }
      const threads = storeConfig === undefined ? {} : { storeConfig }
      const settings = {
        packSizeBytes: PACK_BYTES,
        ...changes.settings,
      }
      return await openChunkRepository(
        {
          store: changes.store ?? (await openStore()),
          ...threads,
          ...shared,
          ...changes,
          settings,
        },
        call,
      )
    },
  }
}

/** The same store for each who opens it, which closing does not close. */
export function lentStore(store: ObjectStore): () => Promise<ObjectStore> {
  return async () => ({ ...methodsOf(store), [Symbol.asyncDispose]: async () => undefined })
}

function methodsOf(store: ObjectStore): Omit<ObjectStore, typeof Symbol.asyncDispose> {
  const { description, objectMaxBytes, immutability } = store
  return {
    description,
    objectMaxBytes,
    ...(immutability === undefined ? {} : { immutability }),
    put: async (key, body, options) => await store.put(key, body, options),
    find: async (key, options) => await store.find(key, options),
    get: async (key, options) => await store.get(key, options),
    read: async (key, offsetBytes, into, options) => await store.read(key, offsetBytes, into, options),
    list: (prefix, options) => store.list(prefix, options),
    delete: async (key, options) => await store.delete(key, options),
  }
}
