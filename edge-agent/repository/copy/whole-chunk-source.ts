import type { Extent } from '@sendense/shared/domain/extent.ts'
import { settleAll } from '@sendense/shared/runtime/settle-all.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import { expectOnDisk } from '../../block/block-range.ts'
import type { BlockSource, CallOptions } from '../../block/block-source.ts'

/** Chunks that are held because a part of them was asked for; at least two. */
const HELD_BYTES_MAX = 16 * 1024 * 1024

interface HeldChunk {
  readonly bytes: Promise<Uint8Array>
  /** What nobody asked for yet. */
  leftBytes: number
}

/**
 * The same disk, which is asked for whole chunks only. A chunk of which parts are read, as by a reader whose own chunks are
 * smaller, is read once and held until all of it was given out, or others need its place. It owns `source`.
 */
export function wholeChunkSource(source: BlockSource, chunkSizeBytes: number): BlockSource {
  return new WholeChunkSource(source, chunkSizeBytes)
}

class WholeChunkSource implements BlockSource {
  readonly sizeBytes: number
  readonly #source: BlockSource
  readonly #chunkSizeBytes: number
  readonly #held = new Map<number, HeldChunk>()
  readonly #closed = new AbortController()

  constructor(source: BlockSource, chunkSizeBytes: number) {
    this.sizeBytes = source.sizeBytes
    this.#source = source
    this.#chunkSizeBytes = chunkSizeBytes
  }

  extents(...asked: Parameters<BlockSource['extents']>): ReturnType<BlockSource['extents']> {
    return this.#source.extents(...asked)
  }

  async read(offsetBytes: number, into: Uint8Array, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    expectOnDisk(this.sizeBytes, offsetBytes, into.length)
    const reads: Promise<void>[] = []
    for (let at = 0; at < into.length;) {
      const lengthBytes = this.#pieceLength(offsetBytes + at, into.length - at)
      reads.push(this.#readPiece(offsetBytes + at, into.subarray(at, at + lengthBytes), { signal }))
      at += lengthBytes
    }
    await settleAll(reads)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new Error('the disk was closed'))
    this.#held.clear()
    await this.#source[Symbol.asyncDispose]()
  }

  /** As many whole chunks as there are, or the part of the first one. */
  #pieceLength(offsetBytes: number, leftBytes: number): number {
    const chunkSizeBytes = this.#chunkSizeBytes
    const toNext = chunkSizeBytes - (offsetBytes % chunkSizeBytes)
    if (toNext < chunkSizeBytes) return Math.min(toNext, leftBytes)
    if (offsetBytes + leftBytes === this.sizeBytes) return leftBytes
    return leftBytes < chunkSizeBytes ? leftBytes : leftBytes - (leftBytes % chunkSizeBytes)
  }

  async #readPiece(offsetBytes: number, into: Uint8Array, { signal }: CallOptions): Promise<void> {
    const index = Math.floor(offsetBytes / this.#chunkSizeBytes)
    const startBytes = index * this.#chunkSizeBytes
    const chunkEnd = Math.min(this.sizeBytes, startBytes + this.#chunkSizeBytes)
    const isWhole = offsetBytes === startBytes && offsetBytes + into.length >= chunkEnd
    if (isWhole) {
      await this.#source.read(offsetBytes, into, { signal })
      return
    }
    const chunk =
      this.#held.get(index) ?? this.#hold(index, { offsetBytes: startBytes, lengthBytes: chunkEnd - startBytes })
    chunk.leftBytes -= into.length
    if (chunk.leftBytes <= 0) this.#held.delete(index)
    const bytes = await untilAborted(chunk.bytes, signal)
    into.set(bytes.subarray(offsetBytes - startBytes, offsetBytes - startBytes + into.length))
  }

  /** Others may come to wait for it: it does not end with who asked first. */
  #hold(index: number, range: Extent): HeldChunk {
    const chunk = { bytes: this.#readChunk(range), leftBytes: range.lengthBytes }
    // Whoever asks again reads again.
    chunk.bytes.catch(() => {
      if (this.#held.get(index) === chunk) this.#held.delete(index)
    })
    this.#held.set(index, chunk)
    const chunksMax = Math.max(2, Math.floor(HELD_BYTES_MAX / this.#chunkSizeBytes))
    for (const [oldest] of this.#held) {
      if (this.#held.size <= chunksMax) break
      this.#held.delete(oldest)
    }
    return chunk
  }

  async #readChunk({ offsetBytes, lengthBytes }: Extent): Promise<Uint8Array> {
    const bytes = new Uint8Array(lengthBytes)
    await this.#source.read(offsetBytes, bytes, { signal: this.#closed.signal })
    return bytes
  }
}
