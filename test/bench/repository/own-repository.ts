import { randomUUID } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import type { CallOptions } from '@sendense/edge-agent/block/block-source.ts'
import { createMover } from '@sendense/edge-agent/mover/create-mover.ts'
import type { Mover } from '@sendense/edge-agent/mover/mover.ts'
import { openLocalStore } from '@sendense/edge-agent/object-store/local/local-store.ts'
import { type ObjectStoreConfig, parseStoreConfig } from '@sendense/edge-agent/object-store/object-store-config.ts'
import { openObjectStore } from '@sendense/edge-agent/object-store/open-object-store.ts'
import { CHUNK_DISK_OPENER } from '@sendense/edge-agent/repository/chunk-store/chunk-disk-address.ts'
import type { ChunkRepository } from '@sendense/edge-agent/repository/chunk-store/chunk-repository.ts'
import { createChunkRepository } from '@sendense/edge-agent/repository/chunk-store/create-chunk-repository.ts'
import type { CompressionPreset } from '@sendense/edge-agent/repository/chunk-store/format/chunk-compression.ts'
import { createMemoryPackCatalogue } from '@sendense/edge-agent/repository/chunk-store/index/memory-pack-catalogue.ts'
import { generateRecipientKey, newKeyRecipient } from '@sendense/edge-agent/repository/chunk-store/keys/recipients.ts'
import { openChunkRepository } from '@sendense/edge-agent/repository/chunk-store/open-chunk-repository.ts'
import { generateSigningKey } from '@sendense/shared/runtime/signing.ts'

export interface OwnRepositoryOptions {
  readonly storeConfig: ObjectStoreConfig
  readonly chunkSizeBytes: number
  readonly compression: CompressionPreset
}

/** A mover whose threads open disks of chunk repositories. */
export function createBenchMover(): Mover {
  const opener = import.meta.resolve('@sendense/edge-agent/repository/chunk-store/chunk-disk-opener.ts')
  return createMover({ openers: { [CHUNK_DISK_OPENER]: opener } })
}

/** An empty directory for a repository, in the place of what was there. */
export async function emptyDirectoryStore(directory: string, call: CallOptions): Promise<ObjectStoreConfig> {
  await rm(directory, { recursive: true, force: true })
  await mkdir(directory)
  await using store = await openLocalStore({ directory, create: { worm: false }, ...call })
  return parseStoreConfig({ kind: 'directory', directory, storeId: store.storeId })
}

/** A new chunk repository in an empty store, open. */
export async function createOwnRepository(
  { storeConfig, chunkSizeBytes, compression }: OwnRepositoryOptions,
  call: CallOptions,
): Promise<ChunkRepository> {
  const createdAt = new Date()
  const agent = newKeyRecipient('agent', generateRecipientKey(), {
    recipientId: randomUUID(),
    label: 'benchmark',
    createdAt,
  })
  const store = await openObjectStore(storeConfig, call)
  const what = { repositoryId: randomUUID(), chunkSizeBytes, createdAt, recipients: [agent] }
  const keys = await createChunkRepository({ store, ...what }, call)
  const own = { agentId: randomUUID(), signingKey: generateSigningKey(), trustedPublicKeys: [] }
  const catalogue = createMemoryPackCatalogue()
  return await openChunkRepository({ store, storeConfig, keys, catalogue, ...own, settings: { compression } }, call)
}
