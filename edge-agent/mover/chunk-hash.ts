import assert from 'node:assert/strict'
import { Blake3Hasher } from '@napi-rs/blake-hash'
import { CHUNK_ID_BYTES } from './chunk-ids.ts'

export const ID_KEY_BYTES = 32
const ZERO_ID = new Uint8Array(CHUNK_ID_BYTES)
const ZEROS = new Uint8Array(256 * 1024)

/** Computes chunk ids: keyed BLAKE3-256 of a chunk's bytes, 32 zero bytes for a chunk of zeros of any length. */
export class ChunkHash {
  readonly #key: Buffer

  /** @param idKey 32 bytes, copied */
  constructor(idKey: Uint8Array) {
    assert.equal(idKey.length, ID_KEY_BYTES, 'the key of chunk ids has 32 bytes')
    this.#key = Buffer.from(idKey)
  }

  /**
   * @param parts the chunk's bytes in order
   * @returns 32 bytes, the caller's to keep but not to change
   */
  idOf(...parts: readonly Uint8Array[]): Uint8Array {
    if (parts.every((part) => isAllZeros(part))) return ZERO_ID
    const hasher = Blake3Hasher.newKeyed(this.#key)
    for (const part of parts) hasher.update(part)
    return hasher.digestBuffer()
  }
}

/** Whether every byte is zero. The compare runs over words, and ends at the first that is not. */
export function isAllZeros(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const piece = bytes.subarray(at, at + ZEROS.length)
    if (Buffer.compare(piece, ZEROS.subarray(0, piece.length)) !== 0) return false
  }
  return true
}
