import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import type { BlockExtent, BlockSource, CallOptions } from '../../block/block-source.ts'

/** What is remembered together: large enough that a disk is walked quickly, a multiple of every minimum block size. */
const WINDOW_BYTES = 128 * 1024 * 1024
/** Remembered of one export: some 50 MB. The oldest windows go first. */
const REMEMBERED_EXTENTS_MAX = 2 ** 19
/** One question walks over so many windows at most, so that it ends: 32 GiB. */
const WINDOWS_PER_LOOKUP_MAX = 256

export interface LookupOptions extends CallOptions {
  readonly extentsMax: number
}

/** What is known of the ranges of an export. */
export interface ExtentLookup {
  /**
   * Extents from the start of the range on, in order, without gaps, neighbours of different kind. At least one; they may
   * end before the range does, never beyond it. A block of the export's minimum size is of one kind: dirty where part of
   * it is, zero where all of it is.
   * @param range not empty, of whole such blocks
   */
  list(range: Extent, options: LookupOptions): Promise<BlockExtent[]>
}

/** Asks the source each time: its content changes. */
export function liveExtents(source: BlockSource, { minimumBytes }: { readonly minimumBytes: number }): ExtentLookup {
  return {
    list: async (range, { extentsMax, signal }) => {
      const found: BlockExtent[] = []
      for await (const extent of joinToBlocks(source.extents(range, { signal }), minimumBytes)) {
        found.push(extent)
        if (found.length >= extentsMax) break
      }
      return found
    },
  }
}

/**
 * Asks the source once for each window and remembers the answer: its content never changes, and every read asks.
 * @param options.signal of the whole export: what is being looked up serves all who wait for it
 */
export function cachedExtents(
  source: BlockSource,
  options: CallOptions & { readonly minimumBytes: number },
): ExtentLookup {
  const windows = new Windows(source, options)
  return {
    list: async (range, { extentsMax, signal }) => {
      const found: BlockExtent[] = []
      let at = range.offsetBytes
      for (let count = 0; count < WINDOWS_PER_LOOKUP_MAX && at < endOf(range); count += 1) {
        signal.throwIfAborted()
        const index = Math.floor(at / WINDOW_BYTES)
        const extents = windows.remembered(index) ?? (await windows.load(index))
        for (let position = positionOf(extents, at); position < extents.length; position += 1) {
          const extent = clamp(extents[position], range)
          if (extent === undefined) break
          if (pushJoined(found, extent) > extentsMax) return found.slice(0, extentsMax)
        }
        at = (index + 1) * WINDOW_BYTES
      }
      return found
    },
  }
}

class Windows {
  readonly #source: BlockSource
  readonly #options: CallOptions & { readonly minimumBytes: number }
  /** By number; the least recently used first. */
  readonly #known = new Map<number, readonly BlockExtent[]>()
  readonly #loading = new Map<number, Promise<readonly BlockExtent[]>>()
  #knownExtents = 0

  constructor(source: BlockSource, options: CallOptions & { readonly minimumBytes: number }) {
    this.#source = source
    this.#options = options
  }

  remembered(index: number): readonly BlockExtent[] | undefined {
    const extents = this.#known.get(index)
    if (extents === undefined) return undefined
    this.#known.delete(index)
    this.#known.set(index, extents)
    return extents
  }

  async load(index: number): Promise<readonly BlockExtent[]> {
    const running = this.#loading.get(index)
    if (running !== undefined) return await running
    const loading = this.#read(index)
    this.#loading.set(index, loading)
    try {
      const extents = await loading
      this.#remember(index, extents)
      return extents
    } finally {
      this.#loading.delete(index)
    }
  }

  async #read(index: number): Promise<readonly BlockExtent[]> {
    const offsetBytes = index * WINDOW_BYTES
    const lengthBytes = Math.min(WINDOW_BYTES, this.#source.sizeBytes - offsetBytes)
    const extents = this.#source.extents({ offsetBytes, lengthBytes }, this.#options)
    return await Array.fromAsync(joinToBlocks(extents, this.#options.minimumBytes))
  }

  #remember(index: number, extents: readonly BlockExtent[]): void {
    this.#known.set(index, extents)
    this.#knownExtents += extents.length
    for (const [oldest, { length }] of this.#known) {
      if (this.#knownExtents <= REMEMBERED_EXTENTS_MAX || oldest === index) return
      this.#known.delete(oldest)
      this.#knownExtents -= length
    }
  }
}

/**
 * Joins neighbours of the same kind, and all parts of a block of `minimumBytes`. The first extent begins on such a block;
 * a last block may be shorter.
 */
export async function* joinToBlocks(
  extents: AsyncIterable<BlockExtent>,
  minimumBytes: number,
): AsyncGenerator<BlockExtent> {
  let whole: BlockExtent | undefined
  let part: BlockExtent | undefined
  for await (const extent of extents) {
    for (const piece of cutAtBlocks(extent, minimumBytes)) {
      const block = part === undefined ? piece : joined(part, piece)
      part = endOf(block) % minimumBytes === 0 ? undefined : block
      if (part !== undefined) continue
      if (whole !== undefined && !isSameKind(whole, block)) yield whole
      whole = whole !== undefined && isSameKind(whole, block) ? joined(whole, block) : block
    }
  }
  if (whole !== undefined && part !== undefined && isSameKind(whole, part)) whole = joined(whole, part)
  else if (part !== undefined) {
    if (whole !== undefined) yield whole
    whole = part
  }
  if (whole !== undefined) yield whole
}

/** An extent as the part of a block at its start, whole blocks, and the part of a block at its end. */
function* cutAtBlocks(extent: BlockExtent, minimumBytes: number): Generator<BlockExtent> {
  const end = endOf(extent)
  const wholeStart = Math.min(end, Math.ceil(extent.offsetBytes / minimumBytes) * minimumBytes)
  const wholeEnd = Math.max(wholeStart, Math.floor(end / minimumBytes) * minimumBytes)
  const cuts = [
    [extent.offsetBytes, wholeStart],
    [wholeStart, wholeEnd],
    [wholeEnd, end],
  ] as const
  for (const [from, to] of cuts) {
    if (from < to) yield { ...extent, offsetBytes: from, lengthBytes: to - from }
  }
}

function joined(left: BlockExtent, right: BlockExtent): BlockExtent {
  const lengthBytes = left.lengthBytes + right.lengthBytes
  return { ...left, lengthBytes, zero: left.zero && right.zero, dirty: left.dirty || right.dirty }
}

function isSameKind(left: BlockExtent, right: BlockExtent): boolean {
  return left.zero === right.zero && left.dirty === right.dirty
}

/** Appends, or lengthens the last one where it is of the same kind. Returns how many there are. */
function pushJoined(extents: BlockExtent[], extent: BlockExtent): number {
  const last = extents.at(-1)
  if (last !== undefined && isSameKind(last, extent)) extents[extents.length - 1] = joined(last, extent)
  else extents.push(extent)
  return extents.length
}

/** Which of the extents, ordered and without gaps, holds the byte. */
function positionOf(extents: readonly BlockExtent[], offsetBytes: number): number {
  let low = 0
  let high = extents.length - 1
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if ((extents[middle]?.offsetBytes ?? 0) <= offsetBytes) low = middle
    else high = middle - 1
  }
  return low
}

/** The part of an extent that lies in the range. */
function clamp(extent: BlockExtent | undefined, range: Extent): BlockExtent | undefined {
  if (extent === undefined) return undefined
  const start = Math.max(extent.offsetBytes, range.offsetBytes)
  const end = Math.min(endOf(extent), endOf(range))
  return start < end ? { ...extent, offsetBytes: start, lengthBytes: end - start } : undefined
}
