import type { Extent } from '@sendense/shared/domain/extent.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { settleAll } from '@sendense/shared/runtime/settle-all.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import { expectOnDisk } from '../../../block/block-range.ts'
import type { BlockExtent, BlockSource, CallOptions } from '../../../block/block-source.ts'
import type { ChunkIds } from '../../../mover/chunk-ids.ts'
import { LANE_STRIPE_BYTES } from '../../../mover/lane.ts'
import type { ObjectStore } from '../../../object-store/object-store.ts'
import { chunkExtents } from '../../chunk-extents.ts'
import { PackCipher } from '../format/chunk-record.ts'
import type { RepositoryKeys } from '../format/repository-keys.ts'
import { isChunkDamage } from './chunk-damage.ts'
import { ChunkFetcher } from './chunk-fetcher.ts'
import type { DiskMap, MappedChunk } from './disk-map.ts'

/** Pack keys and decrypted chunks that are kept. */
const CIPHERS_MAX = 64
const KEPT_BYTES_MAX = 8 * 1024 * 1024

export interface ChunkSourceOptions {
  readonly diskId: string
  readonly repositoryId: string
  /** The caller's to close. */
  readonly store: ObjectStore
  readonly keys: Pick<RepositoryKeys, 'epochKey'>
  readonly map: DiskMap
  readonly chunkIds: ChunkIds
}

/**
 * The disk of a restore point, read out of packs. Each chunk is what its writer stored under its id, proven by its tag;
 * that the id is that of the bytes is the reader's to check, as of any source.
 * Reads reject with `repository.chunk_corrupt`, naming disk and offset, where a chunk is missing or was changed.
 */
export function chunkSource(options: ChunkSourceOptions): BlockSource {
  return new ChunkSource(options)
}

class ChunkSource implements BlockSource {
  readonly sizeBytes: number
  readonly #options: ChunkSourceOptions
  readonly #fetcher: ChunkFetcher
  readonly #closed = new AbortController()
  readonly #ciphers = new Map<number, PackCipher>()
  /** Chunks of which only a part was asked for, the one used last at the end. */
  readonly #kept = new Map<number, Promise<Uint8Array>>()

  constructor(options: ChunkSourceOptions) {
    const { chunkIds, store, map } = options
    this.sizeBytes = chunkIds.sizeBytes
    this.#options = options
    const stripeChunks = Math.max(1, LANE_STRIPE_BYTES / chunkIds.chunkSizeBytes)
    this.#fetcher = new ChunkFetcher({ store, map, chunkCount: chunkIds.count, stripeChunks })
  }

  extents(range: Extent, options: CallOptions): AsyncIterable<BlockExtent> {
    return chunkExtents(this.#options.chunkIds, range, options)
  }

  async read(offsetBytes: number, into: Uint8Array, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    expectOnDisk(this.sizeBytes, offsetBytes, into.length)
    const { chunkSizeBytes } = this.#options.chunkIds
    const reads: Promise<void>[] = []
    for (let at = 0; at < into.length;) {
      const index = Math.floor((offsetBytes + at) / chunkSizeBytes)
      const skipBytes = offsetBytes + at - index * chunkSizeBytes
      const part = into.subarray(at, at + chunkSizeBytes - skipBytes)
      reads.push(this.#readPart(index, skipBytes, part, { signal }))
      at += part.length
    }
    await settleAll(reads)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new Error('the disk was closed'))
    this.#fetcher[Symbol.dispose]()
    this.#kept.clear()
  }

  async #readPart(index: number, skipBytes: number, into: Uint8Array, options: CallOptions): Promise<void> {
    const chunk = this.#options.map.get(index)
    if (chunk === undefined) {
      into.fill(0)
      return
    }
    if (chunk === 'lost') throw this.#corrupt(index, 'no pack of the restore point holds it')
    const kept = this.#kept.get(index)
    if (kept === undefined && into.length === this.#lengthOf(index)) {
      await this.#open(index, chunk, into, options)
      return
    }
    const whole = await untilAborted(kept ?? this.#keep(index, chunk), options.signal)
    into.set(whole.subarray(skipBytes, skipBytes + into.length))
  }

  /** Others may come to wait for it: it does not end with who asked first. */
  async #keep(index: number, chunk: MappedChunk): Promise<Uint8Array> {
    const whole = new Uint8Array(this.#lengthOf(index))
    const opening = this.#open(index, chunk, whole, { signal: this.#closed.signal }).then(() => whole)
    this.#kept.set(index, opening)
    const keptMax = Math.max(2, Math.floor(KEPT_BYTES_MAX / this.#options.chunkIds.chunkSizeBytes))
    for (const [oldest] of this.#kept) {
      if (this.#kept.size <= keptMax) break
      this.#kept.delete(oldest)
    }
    try {
      return await opening
    } catch (error) {
      // Whoever asks again reads again.
      if (this.#kept.get(index) === opening) this.#kept.delete(index)
      throw error
    }
  }

  async #open(index: number, chunk: MappedChunk, into: Uint8Array, options: CallOptions): Promise<void> {
    const { chunkIds } = this.#options
    const { ordinal, compression } = chunk
    try {
      const facts = { ordinal, compression, id: chunkIds.at(index), plainBytes: into.length }
      const cipher = this.#cipherOf(chunk.pack)
      await this.#fetcher.withRecord(index, chunk, {
        ...options,
        use: (record) => cipher.openChunk(facts, record, into),
      })
    } catch (error) {
      options.signal.throwIfAborted()
      if (!isChunkDamage(error)) throw error
      throw this.#corrupt(index, error.message, error)
    }
  }

  #cipherOf(pack: number): PackCipher {
    const known = this.#ciphers.get(pack)
    if (known !== undefined) return known
    const { map, keys, repositoryId } = this.#options
    const { packId, epoch } = map.packAt(pack)
    const cipher = new PackCipher(repositoryId, packId, keys.epochKey(epoch))
    for (const [oldest] of this.#ciphers) {
      if (this.#ciphers.size < CIPHERS_MAX) break
      this.#ciphers.delete(oldest)
    }
    this.#ciphers.set(pack, cipher)
    return cipher
  }

  #lengthOf(index: number): number {
    const { chunkSizeBytes } = this.#options.chunkIds
    return Math.min(chunkSizeBytes, this.sizeBytes - index * chunkSizeBytes)
  }

  #corrupt(index: number, why: string, cause?: unknown): PlatformError {
    const offsetBytes = index * this.#options.chunkIds.chunkSizeBytes
    const text = `the chunk at byte ${offsetBytes} of disk ${this.#options.diskId} cannot be read: ${why}`
    const details = { offsetBytes, lengthBytes: this.#lengthOf(index), diskId: this.#options.diskId }
    return new PlatformError('repository.chunk_corrupt', text, { cause, details })
  }
}
