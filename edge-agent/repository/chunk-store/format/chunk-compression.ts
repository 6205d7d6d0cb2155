import assert from 'node:assert/strict'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { releaseMemory } from '@sendense/shared/runtime/release-memory.ts'

/** What a repository may be set to. Levels are zstd's; the choice is measured in docs/decisions/0020. */
export const compressionPresets = { fast: -3, balanced: 1, small: 6 } as const
export type CompressionPreset = keyof typeof compressionPresets

const PROBE_BYTES = 64 * 1024
/** In smaller chunks the probe costs about what it saves: bytes that do not compress pass zstd several times as fast. */
const PROBED_CHUNK_BYTES_MIN = 512 * 1024
/** Beyond the whole: zlib fills one buffer, and takes no further one to see that nothing follows. */
const SLACK_BYTES = 64
/** Compressed bytes must be at most this share of the plain ones, or the chunk is stored as it is. */
const WORTHWHILE_SHARE = 0.97

/**
 * The chunk as one zstd frame, or undefined where it is to be stored raw: where 64 KiB at the beginning and in the middle of
 * a large chunk, or the whole, gain under 3 %.
 * @returns memory of its own, for `releaseMemory`
 */
export function compressChunk(plain: Uint8Array, preset: CompressionPreset): Buffer | undefined {
  const level = compressionPresets[preset]
  const isProbed = plain.length >= PROBED_CHUNK_BYTES_MIN
  if (isProbed && !probeGains(plain, 0, level) && !probeGains(plain, plain.length >> 1, level)) return undefined
  return compressWorthwhile(plain, level)
}

function probeGains(plain: Uint8Array, offsetBytes: number, level: number): boolean {
  const probed = compressWorthwhile(plain.subarray(offsetBytes, offsetBytes + PROBE_BYTES), level)
  if (probed !== undefined) releaseMemory(probed)
  return probed !== undefined
}

function compressWorthwhile(plain: Uint8Array, level: number): Buffer | undefined {
  const compressed = compress(plain, level)
  if (compressed.length <= plain.length * WORTHWHILE_SHARE) return compressed
  releaseMemory(compressed)
  return undefined
}

function compress(plain: Uint8Array, level: number): Buffer {
  return zstdCompressSync(plain, {
    params: { [constants.ZSTD_c_compressionLevel]: level },
    chunkSize: plain.length + SLACK_BYTES,
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
    chunkSize: into.length + SLACK_BYTES,
  })
  if (plain.length !== into.length) throw new Error(`it decompresses to ${plain.length} bytes, not ${into.length}`)
  into.set(plain)
  releaseMemory(plain)
}
