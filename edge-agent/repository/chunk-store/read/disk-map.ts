import assert from 'node:assert/strict'
import { PACK_ID_BYTES, packIdFromBytes, packIdToBytes } from '../format/identity-bytes.ts'
import { type ChunkPlace } from '../format/pack-directory.ts'
import type { CompressionId } from '../format/registered-ids.ts'

const ENTRY_WORDS = 4
const PACK_BYTES = PACK_ID_BYTES + 8
/** Records are shorter than 2^30; the bits above say how the chunk is compressed. */
const COMPRESSION_SHIFT = 30
const NO_PACK = 0
const LOST = 0xffffffff

/** A pack as readers need it. */
export interface MappedPack {
  readonly packId: string
  readonly generation: number
  readonly epoch: number
}

/** Where one chunk's record lies. */
export interface MappedChunk extends Omit<ChunkPlace, 'kind' | 'plainBytes'> {
  /** Number of its pack in the map. */
  readonly pack: number
  readonly ordinal: number
}

/** Memory of a map, for another thread. */
export interface SharedDiskMap {
  readonly chunks: SharedArrayBuffer
  readonly packs: SharedArrayBuffer
}

/**
 * Where the chunks of one disk lie, in shared memory: 16 bytes a chunk, and the packs by number. It is filled once, before
 * others read it.
 */
export class DiskMap {
  readonly #shared: SharedDiskMap
  readonly #words: Uint32Array
  readonly #packs: Buffer

  constructor(shared: SharedDiskMap) {
    this.#shared = shared
    this.#words = new Uint32Array(shared.chunks)
    this.#packs = Buffer.from(shared.packs)
  }

  static create(chunkCount: number, packs: readonly MappedPack[]): DiskMap {
    const map = new DiskMap({
      chunks: new SharedArrayBuffer(chunkCount * ENTRY_WORDS * 4),
      packs: new SharedArrayBuffer(packs.length * PACK_BYTES),
    })
    for (const [number, { packId, generation, epoch }] of packs.entries()) {
      map.#packs.set(packIdToBytes(packId), number * PACK_BYTES)
      map.#packs.writeUInt32LE(generation, number * PACK_BYTES + PACK_ID_BYTES)
      map.#packs.writeUInt32LE(epoch, number * PACK_BYTES + PACK_ID_BYTES + 4)
    }
    return map
  }

  get shared(): SharedDiskMap {
    return this.#shared
  }

  get packCount(): number {
    return this.#packs.length / PACK_BYTES
  }

  set(index: number, chunk: MappedChunk): void {
    assert(chunk.pack < this.packCount && chunk.storedBytes < 2 ** COMPRESSION_SHIFT)
    const stored = (chunk.storedBytes | (chunk.compression << COMPRESSION_SHIFT)) >>> 0
    this.#words.set([chunk.pack + 1, chunk.offsetBytes, stored, chunk.ordinal], index * ENTRY_WORDS)
  }

  /** No pack that there is holds the chunk. */
  setLost(index: number): void {
    this.#words[index * ENTRY_WORDS] = LOST
  }

  /** `lost` where no pack holds it, undefined for a chunk of zeros. */
  get(index: number): MappedChunk | 'lost' | undefined {
    const at = index * ENTRY_WORDS
    const [pack = 0, offsetBytes = 0, stored = 0, ordinal = 0] = this.#words.subarray(at, at + ENTRY_WORDS)
    if (pack === NO_PACK) return undefined
    if (pack === LOST) return 'lost'
    return {
      pack: pack - 1,
      offsetBytes,
      storedBytes: stored & (2 ** COMPRESSION_SHIFT - 1),
      compression: (stored >>> COMPRESSION_SHIFT) as CompressionId,
      ordinal,
    }
  }

  packAt(number: number): MappedPack {
    const at = number * PACK_BYTES
    return {
      packId: packIdFromBytes(this.#packs.subarray(at, at + PACK_ID_BYTES)),
      generation: this.#packs.readUInt32LE(at + PACK_ID_BYTES),
      epoch: this.#packs.readUInt32LE(at + PACK_ID_BYTES + 4),
    }
  }
}
