import assert from 'node:assert/strict'
import { CHUNK_ID_BYTES } from '../../../mover/chunk-ids.ts'
import { TAG_BYTES } from './chunk-record.ts'
import { DIRECTORY_ENTRY_BYTES, PACK_MAX_BYTES, packCorrupt } from './pack-footer.ts'
import { type ChunkKind, type CompressionId, compressionIds, isChunkKind, isCompressionId } from './registered-ids.ts'

/** No chunk is larger: chunks of disks, and pages of chunk ids, have at most 4 MiB. */
export const CHUNK_MAX_BYTES = 4 * 1024 * 1024

const OFFSET_AT = CHUNK_ID_BYTES
const STORED_AT = OFFSET_AT + 4
const PLAIN_AT = STORED_AT + 4
const COMPRESSION_AT = PLAIN_AT + 4
const KIND_AT = COMPRESSION_AT + 1
const RESERVED_AT = KIND_AT + 1

/** Where a chunk's record lies in its pack, and what is needed to open it. */
export interface ChunkPlace {
  readonly offsetBytes: number
  /** Length of the record, with its tag. */
  readonly storedBytes: number
  readonly plainBytes: number
  readonly compression: CompressionId
  readonly kind: ChunkKind
}

/** Writes one entry to the first 48 bytes of `into`. FORMAT.md, "Directory". */
export function writeDirectoryEntry(id: Uint8Array, place: ChunkPlace, into: Buffer): void {
  assert.equal(id.length, CHUNK_ID_BYTES)
  into.set(id, 0)
  into.writeUInt32LE(place.offsetBytes, OFFSET_AT)
  into.writeUInt32LE(place.storedBytes, STORED_AT)
  into.writeUInt32LE(place.plainBytes, PLAIN_AT)
  into.writeUInt8(place.compression, COMPRESSION_AT)
  into.writeUInt8(place.kind, KIND_AT)
  into.writeUInt16LE(0, RESERVED_AT)
}

/** What a pack holds, by ordinal. A view on bytes that were checked. */
export class PackDirectory {
  /** 48 bytes an entry, as in FORMAT.md. Not to be changed. */
  readonly bytes: Uint8Array
  readonly #view: Buffer

  /** @param bytes entries that a builder made or `parseDirectory` has checked; kept */
  constructor(bytes: Uint8Array) {
    assert.equal(bytes.length % DIRECTORY_ENTRY_BYTES, 0)
    this.bytes = bytes
    this.#view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  get count(): number {
    return this.bytes.length / DIRECTORY_ENTRY_BYTES
  }

  /** A view of 32 bytes. */
  idAt(ordinal: number): Uint8Array {
    const at = this.#startOf(ordinal)
    return this.bytes.subarray(at, at + CHUNK_ID_BYTES)
  }

  placeAt(ordinal: number): ChunkPlace {
    const at = this.#startOf(ordinal)
    return {
      offsetBytes: this.#view.readUInt32LE(at + OFFSET_AT),
      storedBytes: this.#view.readUInt32LE(at + STORED_AT),
      plainBytes: this.#view.readUInt32LE(at + PLAIN_AT),
      compression: this.#view.readUInt8(at + COMPRESSION_AT) as CompressionId,
      kind: this.#view.readUInt8(at + KIND_AT) as ChunkKind,
    }
  }

  /** Bytes of all records together: where the directory begins in the pack. */
  get recordBytes(): number {
    if (this.count === 0) return 0
    const last = this.placeAt(this.count - 1)
    return last.offsetBytes + last.storedBytes
  }

  #startOf(ordinal: number): number {
    assert(ordinal >= 0 && ordinal < this.count, 'a chunk that the pack has')
    return ordinal * DIRECTORY_ENTRY_BYTES
  }
}

/**
 * Checks that entries describe records that follow each other without gaps.
 * @param bytes kept, not copied
 * @param recordBytes what the records must fill together; undefined where nothing else says it
 * Throws `repository.pack_corrupt`.
 */
export function parseDirectory(
  bytes: Uint8Array,
  recordBytes: number | undefined,
  name: { readonly packId: string },
): PackDirectory {
  if (bytes.length === 0 || bytes.length % DIRECTORY_ENTRY_BYTES !== 0) {
    throw packCorrupt(name, `its directory has ${bytes.length} bytes`)
  }
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  let offsetBytes = 0
  for (let at = 0; at < bytes.length; at += DIRECTORY_ENTRY_BYTES) {
    const entry = view.subarray(at, at + DIRECTORY_ENTRY_BYTES)
    if (entry.readUInt32LE(OFFSET_AT) !== offsetBytes || !isPossible(entry)) {
      throw packCorrupt(name, `entry ${at / DIRECTORY_ENTRY_BYTES} of its directory is not as it must be`)
    }
    offsetBytes += entry.readUInt32LE(STORED_AT)
  }
  if (offsetBytes > PACK_MAX_BYTES) throw packCorrupt(name, `its records have ${offsetBytes} bytes`)
  if (recordBytes !== undefined && offsetBytes !== recordBytes) {
    throw packCorrupt(name, `its records have ${recordBytes} bytes, not ${offsetBytes}`)
  }
  return new PackDirectory(bytes)
}

function isPossible(entry: Buffer): boolean {
  const bodyBytes = entry.readUInt32LE(STORED_AT) - TAG_BYTES
  const plainBytes = entry.readUInt32LE(PLAIN_AT)
  const compression = entry.readUInt8(COMPRESSION_AT)
  if (!isCompressionId(compression) || !isChunkKind(entry.readUInt8(KIND_AT))) return false
  if (entry.readUInt16LE(RESERVED_AT) !== 0) return false
  if (bodyBytes <= 0 || plainBytes === 0 || plainBytes > CHUNK_MAX_BYTES) return false
  return compression === compressionIds.raw ? bodyBytes === plainBytes : bodyBytes < plainBytes
}
