import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { SigningKey } from '@sendense/shared/runtime/signing.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { ObjectStoreConfig } from '../../object-store/object-store-config.ts'
import type { ObjectStore, RetentionMode } from '../../object-store/object-store.ts'
import type { RepositoryCapacity } from '../repository.ts'
import type { CompressionPreset } from './format/chunk-compression.ts'
import type { ChunkStoreDescriptor } from './format/chunk-store-descriptor.ts'
import type { SealContext } from './format/object-context.ts'
import type { ChunkIndex } from './index/chunk-index.ts'
import type { IndexOptions } from './index/index-holder.ts'
import type { PackCatalogue } from './index/pack-catalogue.ts'
import type { KeyRing } from './keys/key-ring.ts'
import type { PackBuffers } from './write/pack-buffers.ts'

/** What of a seal is durable, in this order; tests kill the process there. */
export const chunkSealSteps = ['packs-durable', 'index-durable', 'set-durable', 'manifest-durable'] as const
export type ChunkSealStep = (typeof chunkSealSteps)[number]

export interface ChunkStoreSettings {
  /** Packs are closed at so many bytes: 16 to 32 MiB in use. */
  readonly packSizeBytes: number
  readonly compression: CompressionPreset
  /** Memory of the packs that one thread is making and putting. */
  readonly writeBytesPerThread: number
  /** What is written is retained until its generation has ended and so many days more. Absent: not at all. */
  readonly protection?: { readonly mode: RetentionMode; readonly days: number }
}

/** What reading takes; a whole context has it. */
export type ReadContext = Pick<ChunkContext, 'store' | 'descriptor' | 'repositoryId' | 'keys' | 'catalogue' | 'logger'>

/** What the parts of one open repository share. */
export interface ChunkContext extends SealContext {
  readonly store: ObjectStore
  /** How other threads open the same store. Absent: they cannot. */
  readonly storeConfig?: ObjectStoreConfig | undefined
  readonly descriptor: ChunkStoreDescriptor
  readonly keys: KeyRing
  readonly signingKey: SigningKey
  /** SPKI DER, base64, by key id: whose manifests are believed. */
  readonly publicKeys: ReadonlyMap<string, string>
  readonly agentId: string
  readonly settings: ChunkStoreSettings
  readonly catalogue: PackCatalogue
  /** Of packs that are made in this thread. */
  readonly buffers: PackBuffers
  readonly clock: Clock
  readonly nowMs: () => number
  readonly newId: () => string
  readonly logger?: Logger | undefined
  readonly crashPoint: (step: ChunkSealStep) => void
  /** For a new session: of what is in the store, without what was condemned or quarantined until now. */
  index(options: IndexOptions): Promise<ChunkIndex>
  /** Drops from an index what was condemned or quarantined meanwhile. */
  dropExcluded(index: ChunkIndex, options: CallOptions): Promise<void>
  /** Space of the store. Absent: it has no end. */
  readonly measureSpace?: ((options: CallOptions) => Promise<RepositoryCapacity>) | undefined
}
