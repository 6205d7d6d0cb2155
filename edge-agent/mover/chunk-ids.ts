import assert from 'node:assert/strict'

export const CHUNK_ID_BYTES = 32
const CHUNK_ID_WORDS = CHUNK_ID_BYTES / Uint32Array.BYTES_PER_ELEMENT

/**
 * The chunk ids of one disk, in disk order: 32 bytes for each `chunkSizeBytes` of it, the last chunk may be
 * short. An id is keyed BLAKE3-256 over the chunk's bytes; the id of a chunk of zeros is 32 zero bytes,
 * whatever its length. The memory is shared, so that a worker thread can fill it in place.
 */
export class ChunkIds {
  readonly sizeBytes: number
  readonly chunkSizeBytes: number
  readonly bytes: Uint8Array<SharedArrayBuffer>
  readonly #words: Uint32Array<SharedArrayBuffer>

  constructor(sizeBytes: number, chunkSizeBytes: number, shared?: SharedArrayBuffer) {
    assert(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0 && chunkSizeBytes > 0)
    this.sizeBytes = sizeBytes
    this.chunkSizeBytes = chunkSizeBytes
    const lengthBytes = Math.ceil(sizeBytes / chunkSizeBytes) * CHUNK_ID_BYTES
    const memory = shared ?? new SharedArrayBuffer(lengthBytes)
    assert.equal(memory.byteLength, lengthBytes)
    this.bytes = new Uint8Array(memory)
    this.#words = new Uint32Array(memory)
  }

  get count(): number {
    return this.bytes.length / CHUNK_ID_BYTES
  }

  /** A view, not a copy. */
  at(index: number): Uint8Array {
    assert(index >= 0 && index < this.count)
    return this.bytes.subarray(index * CHUNK_ID_BYTES, (index + 1) * CHUNK_ID_BYTES)
  }

  set(index: number, id: Uint8Array): void {
    assert.equal(id.length, CHUNK_ID_BYTES)
    this.at(index).set(id)
  }

  isZero(index: number): boolean {
    assert(index >= 0 && index < this.count)
    for (let at = index * CHUNK_ID_WORDS; at < (index + 1) * CHUNK_ID_WORDS; at += 1) {
      if (this.#words[at] !== 0) return false
    }
    return true
  }
}
