import assert from 'node:assert/strict'
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { releaseMemory } from '@sendense/shared/runtime/release-memory.ts'
import { CHUNK_ID_BYTES } from '../../../mover/chunk-ids.ts'
import { decompressInto } from './chunk-compression.ts'
import { deriveKey, keyPurposes } from './hkdf.ts'
import { PACK_ID_BYTES, packIdToBytes, UUID_BYTES, uuidToBytes } from './identity-bytes.ts'
import { type CompressionId, compressionIds, FORMAT_VERSION } from './registered-ids.ts'

export const CIPHER_NAME = 'aes-256-gcm'
export const TAG_BYTES = 16
export const NONCE_BYTES = 12
/** The nonce of a pack's directory. Chunks are numbered below it. */
export const DIRECTORY_ORDINAL = 0xffffffff
/** What goes through the cipher at once: its results stay in the processor's cache until they are copied. */
const PIECE_BYTES = 128 * 1024

const AAD_PACK_AT = 2 + UUID_BYTES
const AAD_ORDINAL_AT = AAD_PACK_AT + PACK_ID_BYTES
const AAD_ID_AT = AAD_ORDINAL_AT + 4
const AAD_PLAIN_AT = AAD_ID_AT + CHUNK_ID_BYTES
const AAD_COMPRESSION_AT = AAD_PLAIN_AT + 4
const AAD_BYTES = AAD_COMPRESSION_AT + 1

/** What a record is bound to besides its pack: it opens only with exactly these. */
export interface ChunkRecordFacts {
  /** Which chunk of its pack, from 0. */
  readonly ordinal: number
  /** 32 bytes. */
  readonly id: Uint8Array
  readonly plainBytes: number
  readonly compression: CompressionId
}

/**
 * Encrypts and decrypts the chunk records of one pack. FORMAT.md, "Chunk record". Synchronous, for worker threads.
 * The key derived for the pack stays inside and is never shown.
 */
export class PackCipher {
  readonly packId: string
  readonly #key: KeyObject
  readonly #aad = Buffer.alloc(AAD_BYTES)
  readonly #nonce = Buffer.alloc(NONCE_BYTES)

  /** @param epochKey 32 bytes, not kept */
  constructor(repositoryId: string, packId: string, epochKey: Uint8Array) {
    this.packId = packId
    const packIdBytes = packIdToBytes(packId)
    const key = deriveKey(epochKey, packIdBytes, keyPurposes.pack)
    this.#key = createSecretKey(key)
    key.fill(0)
    this.#aad.writeUInt16LE(FORMAT_VERSION, 0)
    this.#aad.set(uuidToBytes(repositoryId), 2)
    this.#aad.set(packIdBytes, AAD_PACK_AT)
  }

  /**
   * Writes the record of `stored`, the chunk as `facts.compression` left it, to the start of `into`.
   * @param stored the bytes in order; not changed
   * @returns length of the record: that of `stored` and 16 bytes
   */
  sealChunk(facts: ChunkRecordFacts, stored: readonly Uint8Array[], into: Uint8Array): number {
    assert(facts.ordinal >= 0 && facts.ordinal < DIRECTORY_ORDINAL, 'chunks are numbered below the directory')
    return this.seal(facts.ordinal, this.#bind(facts), stored, into)
  }

  /**
   * Decrypts, and decompresses where it must, a record into `into`, which has exactly `facts.plainBytes`. Whether the
   * bytes hash to the id is the caller's to check. When it throws, `into` holds zeros.
   * Throws `repository.chunk_corrupt`.
   */
  openChunk(facts: ChunkRecordFacts, record: Uint8Array, into: Uint8Array): void {
    assert.equal(into.length, facts.plainBytes)
    const storedBytes = record.length - TAG_BYTES
    try {
      if (facts.compression === compressionIds.raw) {
        if (storedBytes !== into.length) throw new Error(`it has ${storedBytes} bytes, not ${into.length}`)
        this.open(facts.ordinal, this.#bind(facts), record, into)
        return
      }
      if (storedBytes <= 0) throw new Error(`it has only ${record.length} bytes`)
      const stored = Buffer.allocUnsafeSlow(storedBytes)
      this.open(facts.ordinal, this.#bind(facts), record, stored)
      decompressInto(stored, into)
      releaseMemory(stored)
    } catch (error) {
      into.fill(0)
      const why = error instanceof Error ? error.message : String(error)
      throw new PlatformError('repository.chunk_corrupt', `chunk ${facts.ordinal} of pack ${this.packId}: ${why}`, {
        cause: error,
        details: { packId: this.packId, ordinal: facts.ordinal, chunkId: Buffer.from(facts.id).toString('hex') },
      })
    }
  }

  /** AES-256-GCM with the ordinal as nonce. Each ordinal of a pack is used once. @returns bytes written to `into` */
  seal(ordinal: number, aad: Uint8Array, plain: readonly Uint8Array[], into: Uint8Array): number {
    const cipher = createCipheriv(CIPHER_NAME, this.#key, this.#nonceOf(ordinal), { authTagLength: TAG_BYTES })
    cipher.setAAD(aad)
    let written = 0
    for (const part of plain) {
      for (let at = 0; at < part.length; at += PIECE_BYTES) {
        const piece = cipher.update(part.subarray(at, at + PIECE_BYTES))
        into.set(piece, written)
        written += piece.length
        releaseMemory(piece)
      }
    }
    cipher.final() // counter mode holds nothing back
    into.set(cipher.getAuthTag(), written)
    return written + TAG_BYTES
  }

  /** Opens what `seal` made. Throws, with `into` filled with bytes not to be used, unless it is just that. */
  open(ordinal: number, aad: Uint8Array, sealed: Uint8Array, into: Uint8Array): void {
    const storedBytes = sealed.length - TAG_BYTES
    assert.equal(into.length, storedBytes)
    const decipher = createDecipheriv(CIPHER_NAME, this.#key, this.#nonceOf(ordinal), { authTagLength: TAG_BYTES })
    decipher.setAAD(aad)
    decipher.setAuthTag(sealed.subarray(storedBytes))
    for (let at = 0; at < storedBytes; at += PIECE_BYTES) {
      const piece = decipher.update(sealed.subarray(at, Math.min(at + PIECE_BYTES, storedBytes)))
      into.set(piece, at)
      releaseMemory(piece)
    }
    decipher.final()
  }

  #nonceOf(ordinal: number): Uint8Array {
    this.#nonce.writeUInt32LE(ordinal, 0)
    return this.#nonce
  }

  #bind(facts: ChunkRecordFacts): Uint8Array {
    assert.equal(facts.id.length, CHUNK_ID_BYTES)
    this.#aad.writeUInt32LE(facts.ordinal, AAD_ORDINAL_AT)
    this.#aad.set(facts.id, AAD_ID_AT)
    this.#aad.writeUInt32LE(facts.plainBytes, AAD_PLAIN_AT)
    this.#aad.writeUInt8(facts.compression, AAD_COMPRESSION_AT)
    return this.#aad
  }
}
