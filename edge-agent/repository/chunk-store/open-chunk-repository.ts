import { randomBytes } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { newId as newUuid } from '@sendense/shared/runtime/identifiers.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { keyIdOf, type SigningKey } from '@sendense/shared/runtime/signing.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { retryingStore } from '../../object-store/layers/retrying-store.ts'
import type { ObjectStoreConfig } from '../../object-store/object-store-config.ts'
import type { ObjectStore } from '../../object-store/object-store.ts'
import { withRepositoryErrors } from '../repository-errors.ts'
import type { RepositoryCapacity } from '../repository.ts'
import type { ChunkContext, ChunkSealStep, ChunkStoreSettings } from './chunk-context.ts'
import { ChunkRepository } from './chunk-repository.ts'
import { type ChunkStoreDescriptor, parseChunkStoreDescriptor } from './format/chunk-store-descriptor.ts'
import { DESCRIPTOR_KEY } from './format/object-keys.ts'
import { PACK_SIZE_DEFAULT_BYTES, packBufferBytes } from './format/pack-builder.ts'
import { hashIds } from './format/registered-ids.ts'
import { Exclusions } from './index/exclusions.ts'
import { IndexHolder } from './index/index-holder.ts'
import type { PackCatalogue } from './index/pack-catalogue.ts'
import type { KeyRing } from './keys/key-ring.ts'
import { PackBuffers } from './write/pack-buffers.ts'

/** Eight packs under way and one in the making hide a round trip of 150 ms at what a processor core compresses. */
const WRITE_BYTES_PER_THREAD = 160 * 1024 * 1024

export interface OpenChunkRepositoryOptions {
  /** Without retries; the repository's from now on, also where opening fails. */
  readonly store: ObjectStore
  /** How other threads open the same store. Absent: all is done in this one. */
  readonly storeConfig?: ObjectStoreConfig
  readonly expectedRepositoryId?: string
  /** The keys; the caller's to erase, after the repository was closed. */
  readonly keys: KeyRing
  readonly agentId: string
  readonly signingKey: SigningKey
  /** SPKI DER, base64: other keys whose manifests are believed. */
  readonly trustedPublicKeys: readonly string[]
  readonly catalogue: PackCatalogue
  readonly settings?: Partial<ChunkStoreSettings>
  /** Absent: the store has no end. */
  readonly measureSpace?: (options: CallOptions) => Promise<RepositoryCapacity>
  readonly clock?: Clock
  readonly nowMs?: () => number
  readonly newId?: () => string
  readonly logger?: Logger
  /** For tests: called when a step of sealing is durable. */
  readonly crashPoint?: (step: ChunkSealStep) => void
}

/**
 * Opens a chunk repository. Rejects with `repository.not_a_repository`, `repository.missing` where it is another one than
 * expected, `repository.format_unsupported`, `repository.io_failed`.
 */
export async function openChunkRepository(
  options: OpenChunkRepositoryOptions,
  { signal }: CallOptions,
): Promise<ChunkRepository> {
  await using undo = new AsyncDisposableStack()
  const store = undo.use(retryingStore(options.store))
  const descriptor = await withRepositoryErrors('opening the repository', async () => {
    return await readDescriptor(store, { signal })
  })
  expectUsable(descriptor, options)
  const repository = new ChunkRepository(contextOf(options, store, descriptor))
  undo.move()
  return repository
}

/** What a store says of itself. Rejects with `repository.not_a_repository`, `repository.format_unsupported`, `storage.*`. */
export async function readDescriptor(store: ObjectStore, { signal }: CallOptions): Promise<ChunkStoreDescriptor> {
  if ((await store.find(DESCRIPTOR_KEY, { signal })) === undefined) {
    throw new PlatformError('repository.not_a_repository', `there is no repository in ${store.description}`)
  }
  return parseChunkStoreDescriptor(await store.get(DESCRIPTOR_KEY, { signal }))
}

function expectUsable(
  { repositoryId, hash }: ChunkStoreDescriptor,
  { expectedRepositoryId = repositoryId, keys, store }: OpenChunkRepositoryOptions,
): void {
  if (repositoryId !== expectedRepositoryId) {
    const text = `${store.description} holds repository ${repositoryId}, not ${expectedRepositoryId}`
    throw new PlatformError('repository.missing', text)
  }
  if (keys.repositoryId !== repositoryId) {
    throw new PlatformError('repository.key_wrong', `the keys are of repository ${keys.repositoryId}`)
  }
  if (hash !== hashIds.keyedBlake3) {
    throw new PlatformError('repository.format_unsupported', `repository ${repositoryId} uses the hash ${hash}`)
  }
}

function contextOf(
  options: OpenChunkRepositoryOptions,
  store: ObjectStore,
  descriptor: ChunkStoreDescriptor,
): ChunkContext & Disposable {
  const { keys, signingKey, catalogue, clock = systemClock, logger, nowMs = () => performance.now() } = options
  const settings: ChunkStoreSettings = {
    packSizeBytes: PACK_SIZE_DEFAULT_BYTES,
    compression: 'balanced',
    writeBytesPerThread: WRITE_BYTES_PER_THREAD,
    ...options.settings,
  }
  const { repositoryId, chunkSizeBytes } = descriptor
  const sealing = { repositoryId, keys, randomBytes: (lengthBytes: number) => randomBytes(lengthBytes) }
  const exclusions = new Exclusions(store, sealing, logger)
  const index = new IndexHolder({ store, catalogue, context: sealing, logger }, exclusions, nowMs)
  const publicKeys = [signingKey.publicKey, ...options.trustedPublicKeys].map((key) => [keyIdOf(key), key] as const)
  return {
    ...sealing,
    store,
    storeConfig: options.storeConfig,
    descriptor,
    keys,
    signingKey,
    settings,
    catalogue,
    publicKeys: new Map(publicKeys),
    agentId: options.agentId,
    buffers: new PackBuffers({
      bufferBytes: packBufferBytes(settings.packSizeBytes, chunkSizeBytes),
      memoryBytes: settings.writeBytesPerThread,
    }),
    clock,
    nowMs,
    logger,
    newId: options.newId ?? newUuid,
    crashPoint: options.crashPoint ?? (() => undefined),
    index: async (call) => await index.get(call),
    dropExcluded: async (known, call) => await exclusions.dropFrom(known, call),
    measureSpace: options.measureSpace,
    [Symbol.dispose]: () => index[Symbol.dispose](),
  }
}
