import { releaseMemory } from '@sendense/shared/runtime/release-memory.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import type { ObjectStore } from '../../../object-store/object-store.ts'
import { packKey } from '../format/object-keys.ts'
import type { DiskMap, MappedChunk } from './disk-map.ts'

/** One range request at most. */
const FETCH_BYTES_MAX = 4 * 1024 * 1024
/** Records that lie no further apart are read together: a request costs more than so many bytes. */
const GAP_BYTES_MAX = 64 * 1024
/** Requests under way. */
const FETCHES_MAX = 64
/** What is read ahead of who reads on: doubled with each read up to this. */
const AHEAD_BYTES_MIN = 1024 * 1024
const AHEAD_BYTES_MAX = 32 * 1024 * 1024

/** Records that are read in one request. */
interface Fetch {
  readonly offsetBytes: number
  readonly lengthBytes: number
  readonly bytes: Promise<Uint8Array>
  /** Chunks of it that nobody asked for yet. */
  waiting: number
  /** Chunks of it that somebody may still use. At 0 its memory is given back. */
  wanted: number
}

export interface FetcherOptions {
  readonly store: ObjectStore
  readonly map: DiskMap
  readonly chunkCount: number
  /** Nothing is read ahead over a multiple of so many chunks: what lies behind is another one's to read. */
  readonly stripeChunks: number
}

/**
 * Reads chunk records of one disk out of packs: neighbours in one pack with one request, and ahead of who reads in the
 * order of the disk. Who jumps about causes no more than he asks for.
 */
export class ChunkFetcher implements Disposable {
  readonly #options: FetcherOptions
  /** By chunk, in the order in which they were begun. */
  readonly #ahead = new Map<number, Fetch>()
  readonly #closed = new AbortController()
  #heldBytes = 0
  #underWay = 0
  #windowBytes = 0
  #lastIndex = -1
  /** Chunks below it were asked for or begun, as long as reading goes on in order. */
  #frontier = 0

  constructor(options: FetcherOptions) {
    this.#options = options
  }

  /**
   * Calls `use` with the record of a chunk, which is not to be changed, and not to be used any more when it returned.
   * Rejects as the store's `read`, as `use` throws, and with the signal's reason.
   */
  async withRecord(
    index: number,
    chunk: MappedChunk,
    { signal, use }: CallOptions & { readonly use: (record: Uint8Array) => void },
  ): Promise<void> {
    signal.throwIfAborted()
    this.#follow(index)
    const fetch = this.#ahead.get(index) ?? this.#begin(index, chunk)
    this.#take(index, fetch)
    this.#readAhead()
    try {
      const bytes = await fetch.bytes
      signal.throwIfAborted()
      const start = chunk.offsetBytes - fetch.offsetBytes
      use(bytes.subarray(start, start + chunk.storedBytes))
    } finally {
      giveUpOne(fetch)
    }
  }

  /** Requests under way are given up. */
  [Symbol.dispose](): void {
    this.#closed.abort(new Error('the disk was closed'))
    this.#ahead.clear()
  }

  /** Opens the window for who goes on where he was, and closes it for who jumps. */
  #follow(index: number): void {
    const isNext = this.#ahead.has(index) || index === this.#nextWithData(this.#lastIndex + 1)
    this.#lastIndex = index
    if (isNext) {
      this.#windowBytes = Math.min(AHEAD_BYTES_MAX, Math.max(AHEAD_BYTES_MIN, this.#windowBytes * 2))
      this.#frontier = Math.max(this.#frontier, index)
      return
    }
    for (const [waiting, fetch] of this.#ahead) {
      this.#take(waiting, fetch)
      giveUpOne(fetch)
    }
    this.#windowBytes = 0
    this.#frontier = index
  }

  #nextWithData(from: number): number | undefined {
    const { map, chunkCount } = this.#options
    for (let index = from; index < chunkCount; index += 1) if (map.get(index) !== undefined) return index
    return undefined
  }

  /** Reads the chunk, and with an open window those behind it that lie behind it in the pack too. */
  #begin(index: number, chunk: MappedChunk): Fetch {
    const { map } = this.#options
    const stop = this.#stripeEnd(index)
    const indexes = [index]
    let endBytes = chunk.offsetBytes + chunk.storedBytes
    for (let next = index + 1; this.#windowBytes > 0 && next < stop; next += 1) {
      const other = map.get(next)
      if (other === undefined) continue
      if (other === 'lost' || other.pack !== chunk.pack || this.#ahead.has(next)) break
      const otherEnd = other.offsetBytes + other.storedBytes
      const isNear = other.offsetBytes >= endBytes && other.offsetBytes <= endBytes + GAP_BYTES_MAX
      if (!isNear || otherEnd - chunk.offsetBytes > Math.min(FETCH_BYTES_MAX, this.#windowBytes)) break
      indexes.push(next)
      endBytes = otherEnd
    }
    const lengthBytes = endBytes - chunk.offsetBytes
    const fetch = {
      offsetBytes: chunk.offsetBytes,
      lengthBytes,
      waiting: indexes.length,
      wanted: indexes.length,
      bytes: this.#read(chunk, lengthBytes),
    }
    // Whoever asks for one of its chunks hears of it.
    fetch.bytes.catch(() => undefined)
    for (const one of indexes) this.#ahead.set(one, fetch)
    this.#heldBytes += lengthBytes
    this.#frontier = Math.max(this.#frontier, (indexes.at(-1) ?? index) + 1)
    return fetch
  }

  async #read({ pack, offsetBytes }: MappedChunk, lengthBytes: number): Promise<Uint8Array> {
    const { store, map } = this.#options
    const bytes = Buffer.allocUnsafeSlow(lengthBytes)
    this.#underWay += 1
    try {
      await store.read(packKey(map.packAt(pack)), offsetBytes, bytes, { signal: this.#closed.signal })
    } finally {
      this.#underWay -= 1
    }
    return bytes
  }

  #readAhead(): void {
    const { map } = this.#options
    const stop = this.#stripeEnd(this.#lastIndex)
    while (this.#underWay < FETCHES_MAX && this.#heldBytes < this.#windowBytes) {
      const index = this.#nextWithData(this.#frontier)
      if (index === undefined || index >= stop) return
      const chunk = map.get(index)
      if (chunk === undefined || chunk === 'lost') {
        this.#frontier = index + 1
        continue
      }
      this.#begin(index, chunk)
    }
  }

  #stripeEnd(index: number): number {
    const { stripeChunks, chunkCount } = this.#options
    return Math.min(chunkCount, (Math.floor(index / stripeChunks) + 1) * stripeChunks)
  }

  #take(index: number, fetch: Fetch): void {
    if (!this.#ahead.delete(index)) return
    fetch.waiting -= 1
    if (fetch.waiting === 0) this.#heldBytes -= fetch.lengthBytes
  }
}

function giveUpOne(fetch: Fetch): void {
  fetch.wanted -= 1
  if (fetch.wanted === 0) void fetch.bytes.then(releaseMemory, () => undefined)
}
