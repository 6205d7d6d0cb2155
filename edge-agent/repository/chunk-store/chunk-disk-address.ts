import { z } from 'zod'
import { ObjectStoreConfig } from '../../object-store/object-store-config.ts'
import { compressionPresets } from './format/chunk-compression.ts'

/** Under this name the mover's threads know `chunk-disk-opener.ts`. */
export const CHUNK_DISK_OPENER = 'chunk-store'

const Shared = z.instanceof(SharedArrayBuffer)
const Key = z.instanceof(Uint8Array).refine((key) => key.length === 32)
const Count = z.int().nonnegative()

const Disk = {
  repositoryId: z.uuid(),
  store: ObjectStoreConfig,
  diskId: z.string(),
  sizeBytes: Count,
  chunkSizeBytes: z.int().positive(),
}

/** A disk of a restore point in the making. Holds a key and credentials: never logged. */
export const ChunkSinkAddress = z.strictObject({
  kind: z.literal('sink'),
  ...Disk,
  /** Of PackReports. */
  channel: z.string(),
  index: z.strictObject({ table: Shared, usable: Shared }),
  generation: Count,
  epoch: z.int().positive(),
  epochKey: Key,
  packSizeBytes: z.int().positive(),
  compression: z.enum(Object.keys(compressionPresets) as [keyof typeof compressionPresets]),
  protection: z.strictObject({ mode: z.enum(['governance', 'compliance']), retainUntil: z.date() }).optional(),
  /** Memory of the packs of all disks that are written in one thread. */
  memoryBytes: z.int().positive(),
})
export type ChunkSinkAddress = z.infer<typeof ChunkSinkAddress>

/** A disk of a restore point that is sealed. Holds keys and credentials: never logged. */
export const ChunkSourceAddress = z.strictObject({
  kind: z.literal('source'),
  ...Disk,
  map: z.strictObject({ chunks: Shared, packs: Shared }),
  chunkIds: Shared,
  epochs: z.array(z.strictObject({ epoch: z.int().positive(), key: Key })),
})
export type ChunkSourceAddress = z.infer<typeof ChunkSourceAddress>
