import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { releaseMemory } from '@sendense/shared/runtime/release-memory.ts'
import { CHUNK_ID_BYTES } from '../../../mover/chunk-ids.ts'
import { compressChunk, type CompressionPreset } from './chunk-compression.ts'
import { DIRECTORY_ORDINAL, PackCipher, TAG_BYTES } from './chunk-record.ts'
import { CHUNK_MAX_BYTES, type ChunkPlace, PackDirectory, writeDirectoryEntry } from './pack-directory.ts'
import {
  DIRECTORY_ENTRY_BYTES,
  FOOTER_BYTES,
  FOOTER_HASH_AT,
  PACK_CHUNKS_MAX,
  type PackFooter,
  type PackName,
  writeFooterHead,
} from './pack-footer.ts'
import { type ChunkKind, compressionIds } from './registered-ids.ts'

export const PACK_SIZE_DEFAULT_BYTES = 16 * 1024 * 1024
export const PACK_SIZE_MAX_BYTES = 32 * 1024 * 1024
/** A pack is closed at so many chunks, however small they are. */
export const PACK_CLOSING_CHUNKS = 8192
assert(PACK_CLOSING_CHUNKS <= PACK_CHUNKS_MAX)

/** Bytes of a buffer that any pack of this closing size fits in. */
export function packBufferBytes(packSizeBytes: number, chunkSizeBytes: number): number {
  const directoryBytes = PACK_CLOSING_CHUNKS * DIRECTORY_ENTRY_BYTES + TAG_BYTES
  return packSizeBytes + chunkSizeBytes + TAG_BYTES + directoryBytes + FOOTER_BYTES
}

export interface NewPack extends PackName {
  /** Key epoch of `epochKey`, above 0. */
  readonly epoch: number
  /** 32 bytes, not kept. */
  readonly epochKey: Uint8Array
  /** `isFull` from this length of records on. */
  readonly packSizeBytes: number
  readonly chunkSizeBytes: number
  readonly compression: CompressionPreset
  /** `packBufferBytes` or more; the builder's until the pack is closed or given up. */
  readonly buffer: Uint8Array
}

export interface NewChunk {
  /** 32 bytes, copied. */
  readonly id: Uint8Array
  readonly kind: ChunkKind
}

export interface ClosedPack {
  readonly footer: PackFooter
  /** The whole object: the first bytes of the buffer that was given. */
  readonly bytes: Uint8Array
  /** In memory of its own. */
  readonly directory: PackDirectory
  /** SHA-256 over all of `bytes`, 64 hexadecimal digits, for the store's own check. */
  readonly sha256: string
}

/** One pack in the making, in one buffer. Synchronous; for one thread. A pack id is used for one builder only. */
export class PackBuilder {
  readonly #pack: NewPack
  readonly #cipher: PackCipher
  readonly #buffer: Buffer
  readonly #directory = Buffer.alloc(PACK_CLOSING_CHUNKS * DIRECTORY_ENTRY_BYTES)
  #count = 0
  #length = 0
  #isClosed = false

  constructor(pack: NewPack) {
    assert(pack.packSizeBytes > 0 && pack.packSizeBytes <= PACK_SIZE_MAX_BYTES, 'packs have at most 32 MiB')
    assert(pack.chunkSizeBytes > 0 && pack.chunkSizeBytes <= CHUNK_MAX_BYTES, 'chunks have at most 4 MiB')
    assert(pack.epoch > 0 && pack.buffer.length >= packBufferBytes(pack.packSizeBytes, pack.chunkSizeBytes))
    this.#pack = pack
    this.#cipher = new PackCipher(pack.repositoryId, pack.packId, pack.epochKey)
    this.#buffer = Buffer.from(pack.buffer.buffer, pack.buffer.byteOffset, pack.buffer.length)
  }

  get packId(): string {
    return this.#pack.packId
  }

  get chunkCount(): number {
    return this.#count
  }

  /** Bytes of records so far. */
  get recordBytes(): number {
    return this.#length
  }

  /** To be closed: no more chunks are taken. */
  get isFull(): boolean {
    return this.#length >= this.#pack.packSizeBytes || this.#count >= PACK_CLOSING_CHUNKS
  }

  /**
   * Compresses where that is worth it, encrypts and places one chunk.
   * @param parts the chunk's bytes in order, together 1 byte to `chunkSizeBytes`; not changed
   */
  append(chunk: NewChunk, parts: readonly Uint8Array[]): ChunkPlace & { readonly ordinal: number } {
    assert(!this.#isClosed && !this.isFull, 'chunks go into an open pack that is not full')
    assert.equal(chunk.id.length, CHUNK_ID_BYTES)
    const plainBytes = parts.reduce((sum, part) => sum + part.length, 0)
    assert(plainBytes > 0 && plainBytes <= this.#pack.chunkSizeBytes, 'a chunk has 1 byte to the chunk size')
    const whole = inOne(parts)
    const compressed = compressChunk(whole, this.#pack.compression)
    const compression = compressed === undefined ? compressionIds.raw : compressionIds.zstd
    const ordinal = this.#count
    const facts = { ordinal, id: chunk.id, plainBytes, compression }
    const stored = compressed === undefined ? parts : [compressed]
    const storedBytes = this.#cipher.sealChunk(facts, stored, this.#buffer.subarray(this.#length))
    if (compressed !== undefined) releaseMemory(compressed)
    if (parts.length > 1) releaseMemory(whole)
    const place = { offsetBytes: this.#length, storedBytes, plainBytes, compression, kind: chunk.kind }
    writeDirectoryEntry(chunk.id, place, this.#directory.subarray(ordinal * DIRECTORY_ENTRY_BYTES))
    this.#count += 1
    this.#length += storedBytes
    return { ordinal, ...place }
  }

  /** Writes directory and footer behind the chunks. Once, with at least one chunk. */
  close(): ClosedPack {
    assert(!this.#isClosed && this.#count > 0, 'a pack that is open and holds a chunk is closed once')
    this.#isClosed = true
    const entries = this.#directory.subarray(0, this.#count * DIRECTORY_ENTRY_BYTES)
    const { repositoryId, packId, epoch, generation } = this.#pack
    const directoryOffset = this.#length
    const directoryBytes = entries.length + TAG_BYTES
    const chunkCount = this.#count
    const footer = { repositoryId, packId, epoch, generation, chunkCount, directoryOffset, directoryBytes }
    const footerAt = directoryOffset + directoryBytes
    const footerBytes = this.#buffer.subarray(footerAt, footerAt + FOOTER_BYTES)
    writeFooterHead(footer, footerBytes)
    const aad = footerBytes.subarray(0, FOOTER_HASH_AT)
    this.#cipher.seal(DIRECTORY_ORDINAL, aad, [entries], this.#buffer.subarray(directoryOffset, footerAt))
    const hash = createHash('sha256').update(this.#buffer.subarray(0, footerAt + FOOTER_HASH_AT))
    footerBytes.set(hash.copy().digest(), FOOTER_HASH_AT)
    const sha256 = hash.update(footerBytes.subarray(FOOTER_HASH_AT)).digest('hex')
    const bytes = this.#pack.buffer.subarray(0, footerAt + FOOTER_BYTES)
    return { footer, bytes, directory: new PackDirectory(Uint8Array.from(entries)), sha256 }
  }
}

/** The parts as one array: compression takes no pieces. */
function inOne(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts
  return parts.length === 1 && first !== undefined ? first : Buffer.concat(parts)
}
