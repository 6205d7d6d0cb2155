import { Instant } from '@sendense/shared/contracts/identifiers.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import { isUuid } from './identity-bytes.ts'
import { parseUtf8Json } from './object-context.ts'
import { cipherIds, FORMAT_VERSION, hashIds } from './registered-ids.ts'

const FORMAT_NAME = 'sendense-repository'
const KIND = 'chunk-store'
export const CHUNK_SIZE_DEFAULT_BYTES = 1024 * 1024
const CHUNK_SIZE_MIN_BYTES = 64 * 1024
const CHUNK_SIZE_MAX_BYTES = 4 * 1024 * 1024

/** `repo.json`: what a store says of itself, in clear. FORMAT.md, "repo.json". */
export const ChunkStoreDescriptor = z.strictObject({
  format: z.literal(FORMAT_NAME),
  version: z.literal(FORMAT_VERSION),
  repositoryId: z.string().refine(isUuid, 'a UUID in lower case'),
  kind: z.literal(KIND),
  chunkSizeBytes: z
    .int()
    .min(CHUNK_SIZE_MIN_BYTES)
    .max(CHUNK_SIZE_MAX_BYTES)
    .refine((size) => Number.isInteger(Math.log2(size)), 'a power of two'),
  hash: z.literal([hashIds.keyedBlake3, hashIds.hmacSha256]),
  cipher: z.literal(cipherIds.aes256Gcm),
  createdAt: Instant,
})
export type ChunkStoreDescriptor = z.infer<typeof ChunkStoreDescriptor>

export interface NewChunkStore {
  readonly repositoryId: string
  /** Power of two, 64 KiB to 4 MiB. Default 1 MiB. */
  readonly chunkSizeBytes?: number
  /** Default keyed BLAKE3-256. */
  readonly hash?: (typeof hashIds)[keyof typeof hashIds]
  readonly createdAt: Date
}

/** Just enough to tell a newer repository, or one of another kind, from something else. */
const AnyVersion = z.looseObject({ format: z.literal(FORMAT_NAME), version: z.int(), kind: z.string() })

/** Throws `input.invalid`. */
export function newChunkStoreDescriptor(store: NewChunkStore): ChunkStoreDescriptor {
  const descriptor = ChunkStoreDescriptor.safeParse({
    format: FORMAT_NAME,
    version: FORMAT_VERSION,
    repositoryId: store.repositoryId,
    kind: KIND,
    chunkSizeBytes: store.chunkSizeBytes ?? CHUNK_SIZE_DEFAULT_BYTES,
    hash: store.hash ?? hashIds.keyedBlake3,
    cipher: cipherIds.aes256Gcm,
    createdAt: store.createdAt.toISOString(),
  })
  if (!descriptor.success) throw new PlatformError('input.invalid', descriptor.error.message)
  return descriptor.data
}

export function encodeChunkStoreDescriptor(descriptor: ChunkStoreDescriptor): Uint8Array {
  return Buffer.from(`${JSON.stringify(ChunkStoreDescriptor.parse(descriptor), null, 2)}\n`)
}

/** Throws `repository.not_a_repository`, or `repository.format_unsupported` for a later version or another kind. */
export function parseChunkStoreDescriptor(bytes: Uint8Array): ChunkStoreDescriptor {
  let json: unknown
  try {
    json = parseUtf8Json(bytes)
  } catch (error) {
    throw new PlatformError('repository.not_a_repository', 'repo.json is no JSON', { cause: error })
  }
  const parsed = ChunkStoreDescriptor.safeParse(json)
  if (parsed.success) return parsed.data
  const other = AnyVersion.safeParse(json)
  if (other.success && (other.data.version > FORMAT_VERSION || other.data.kind !== KIND)) {
    const what = `repo.json is of a repository of kind ${other.data.kind}, version ${other.data.version}`
    throw new PlatformError('repository.format_unsupported', what)
  }
  throw new PlatformError('repository.not_a_repository', `repo.json is not as it must be: ${parsed.error.message}`, {
    cause: parsed.error,
  })
}
