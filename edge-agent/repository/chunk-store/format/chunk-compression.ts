import assert from 'node:assert/strict'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'

/** What a repository may be set to. Levels are zstd's; the choice is measured in docs/decisions/0020. */
export const compressionPresets = { fast: -3, balanced: 1, small: 6 } as const
export type CompressionPreset = keyof typeof compressionPresets

const PROBE_BYTES = 64 * 1024
/** Compressed bytes must be at most this share of the plain ones, or the chunk is stored as it is. */
const WORTHWHILE_SHARE = 0.97

/**
 * The chunk as one zstd frame, or undefined where it is to be stored raw: where the first 64 KiB, or the whole, gain
 * under 3 %.
 * @returns memory of its own
 */
export function compressChunk(plain: Uint8Array, preset: CompressionPreset): Buffer | undefined {
  const level = compressionPresets[preset]
  if (plain.length > PROBE_BYTES) {
    const probe = plain.subarray(0, PROBE_BYTES)
    if (!isWorthwhile(compress(probe, level), probe)) return undefined
  }
  const compressed = compress(plain, level)
  return isWorthwhile(compressed, plain) ? compressed : undefined
}

function isWorthwhile(compressed: Uint8Array, plain: Uint8Array): boolean {
  return compressed.length <= plain.length * WORTHWHILE_SHARE
}

/** `chunkSize` of the whole: zlib then fills one buffer and does not join pieces. */
function compress(plain: Uint8Array, level: number): Buffer {
  return zstdCompressSync(plain, {
    params: { [constants.ZSTD_c_compressionLevel]: level },
    chunkSize: Math.max(plain.length, constants.Z_MIN_CHUNK),
  })
}

/**
 * Decompresses one zstd frame that must be exactly as long as `into`. Bytes that are no such frame throw: a bomb ends
 * at that length.
 */
export function decompressInto(compressed: Uint8Array, into: Uint8Array): void {
  assert(into.length > 0)
  const plain = zstdDecompressSync(compressed, {
    maxOutputLength: into.length,
    chunkSize: Math.max(into.length, constants.Z_MIN_CHUNK),
  })
  if (plain.length !== into.length) throw new Error(`it decompresses to ${plain.length} bytes, not ${into.length}`)
  into.set(plain)
}
