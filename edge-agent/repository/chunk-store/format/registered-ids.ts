/** Version of every object of a chunk repository. A reader refuses greater ones. FORMAT.md. */
export const FORMAT_VERSION = 1

/** How chunk ids are computed. */
export const hashIds = { keyedBlake3: 1, hmacSha256: 2 } as const
export type HashId = (typeof hashIds)[keyof typeof hashIds]

/** How chunks and objects are encrypted. */
export const cipherIds = { aes256Gcm: 1 } as const
export type CipherId = (typeof cipherIds)[keyof typeof cipherIds]

export const compressionIds = { raw: 0, zstd: 1 } as const
export type CompressionId = (typeof compressionIds)[keyof typeof compressionIds]

/** What a chunk record holds: bytes of a disk, or a page of chunk ids (chunk-id-pages.ts). */
export const chunkKinds = { data: 0, chunkIdPage: 1 } as const
export type ChunkKind = (typeof chunkKinds)[keyof typeof chunkKinds]

export function isCompressionId(value: number): value is CompressionId {
  return value === compressionIds.raw || value === compressionIds.zstd
}

export function isChunkKind(value: number): value is ChunkKind {
  return value === chunkKinds.data || value === chunkKinds.chunkIdPage
}
