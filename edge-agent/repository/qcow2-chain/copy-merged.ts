import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import { settleAll } from '@sendense/shared/runtime/settle-all.ts'
import type { BlockSink } from '../../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../../block/block-source.ts'
import { isAllZeros } from '../../mover/chunk-hash.ts'
import type { ChunkIds } from '../../mover/chunk-ids.ts'

/** Copies under way at the same time, each with a buffer of a window. */
const LANES = 4
const WINDOW_MIN_BYTES = 1024 * 1024
/** Zeros inside data are told apart in pieces of a QCOW2 cluster: a piece never makes QEMU fill up a cluster from below. */
const CLUSTER_BYTES = 64 * 1024
/** Block status is asked of all layers for so much of the disk before the next. */
const SEGMENT_BYTES = 1024 * 1024 * 1024

export interface MergeCopy {
  /** Everything as it reads now; each chunk is checked before it is given out. */
  readonly whole: BlockSource
  /** The new layer over what stays below. */
  readonly sink: BlockSink
  /** Each layer of the run alone; its extents are dirty where it holds something itself, zeros included. */
  readonly layers: readonly BlockSource[]
  /** Nothing stays below: what is not written reads as zeros. */
  readonly isBottom: boolean
  readonly chunkIds: ChunkIds
  readonly onCopied: (bytes: number) => void
}

/** Which chunks of a disk a merge has written to. */
export class MergedRanges {
  readonly #chunkSizeBytes: number
  readonly #sizeBytes: number
  readonly #touched: Uint8Array

  constructor({ chunkSizeBytes, sizeBytes }: ChunkIds) {
    this.#chunkSizeBytes = chunkSizeBytes
    this.#sizeBytes = sizeBytes
    this.#touched = new Uint8Array(Math.ceil(sizeBytes / chunkSizeBytes))
  }

  add(range: Extent): void {
    const end = Math.ceil(endOf(range) / this.#chunkSizeBytes)
    this.#touched.fill(1, Math.floor(range.offsetBytes / this.#chunkSizeBytes), end)
  }

  *chunks(): Generator<Extent> {
    for (const [index, touched] of this.#touched.entries()) {
      if (touched === 0) continue
      const offsetBytes = index * this.#chunkSizeBytes
      yield { offsetBytes, lengthBytes: Math.min(this.#chunkSizeBytes, this.#sizeBytes - offsetBytes) }
    }
  }
}

/** Writes to the new layer what the run holds, and nothing else: everywhere else what is below shows through. */
export async function copyMerged(copy: MergeCopy, { signal }: CallOptions): Promise<MergedRanges> {
  const windowBytes = Math.max(WINDOW_MIN_BYTES, copy.chunkIds.chunkSizeBytes)
  const ranges = new MergedRanges(copy.chunkIds)
  const windows = cutIntoWindows(copy.isBottom ? dataOf(copy, signal) : heldRanges(copy, signal), windowBytes)
  await inLanes(windows, windowBytes, async (window, buffer) => {
    signal.throwIfAborted()
    const bytes = buffer.subarray(0, window.lengthBytes)
    await copy.whole.read(window.offsetBytes, bytes, { signal })
    await writeContent(copy, window.offsetBytes, bytes, { signal })
    ranges.add(window)
    copy.onCopied(window.lengthBytes)
  })
  return ranges
}

/** Reads every chunk that the merge has written to; a verified source rejects where one is not as it must be. */
export async function readMergedAgain(source: BlockSource, ranges: MergedRanges, { signal }: CallOptions) {
  const windows = (async function* () {
    yield* ranges.chunks()
  })()
  let windowBytes = 0
  for (const { lengthBytes } of ranges.chunks()) windowBytes = Math.max(windowBytes, lengthBytes)
  await inLanes(windows, windowBytes, async (window, buffer) => {
    signal.throwIfAborted()
    await source.read(window.offsetBytes, buffer.subarray(0, window.lengthBytes), { signal })
  })
}

/** Each lane owns one buffer and pulls from the shared iterator until it is empty; the first error ends all. */
async function inLanes(
  windows: AsyncGenerator<Extent>,
  windowBytes: number,
  work: (window: Extent, buffer: Uint8Array) => Promise<void>,
): Promise<void> {
  const lane = async (): Promise<void> => {
    const buffer = new Uint8Array(windowBytes)
    try {
      for (let next = await windows.next(); next.done !== true; next = await windows.next()) {
        await work(next.value, buffer)
      }
    } finally {
      // The others find it empty.
      await windows.return(undefined)
    }
  }
  await settleAll(Array.from({ length: LANES }, lane))
}

async function* dataOf({ whole }: MergeCopy, signal: AbortSignal): AsyncGenerator<Extent> {
  for await (const extent of whole.extents({ offsetBytes: 0, lengthBytes: whole.sizeBytes }, { signal })) {
    if (!extent.zero) yield extent
  }
}

async function* heldRanges({ layers, whole }: MergeCopy, signal: AbortSignal): AsyncGenerator<Extent> {
  for (let offsetBytes = 0; offsetBytes < whole.sizeBytes; offsetBytes += SEGMENT_BYTES) {
    const segment = { offsetBytes, lengthBytes: Math.min(SEGMENT_BYTES, whole.sizeBytes - offsetBytes) }
    const held: Extent[] = []
    for (const layer of layers) {
      for await (const extent of layer.extents(segment, { signal })) if (extent.dirty) held.push(extent)
    }
    yield* unionOf(held)
  }
}

/** Ordered, without overlaps; what touches is joined. */
export function* unionOf(extents: readonly Extent[]): Generator<Extent> {
  let open: Extent | undefined
  for (const extent of extents.toSorted((a, b) => a.offsetBytes - b.offsetBytes)) {
    if (open !== undefined && extent.offsetBytes <= endOf(open)) {
      const endBytes = Math.max(endOf(open), endOf(extent))
      open = { offsetBytes: open.offsetBytes, lengthBytes: endBytes - open.offsetBytes }
      continue
    }
    if (open !== undefined) yield open
    open = { offsetBytes: extent.offsetBytes, lengthBytes: extent.lengthBytes }
  }
  if (open !== undefined) yield open
}

/** At multiples of `windowBytes`, so that no chunk is read twice for being cut. */
async function* cutIntoWindows(ranges: AsyncGenerator<Extent>, windowBytes: number): AsyncGenerator<Extent> {
  for await (const range of ranges) {
    for (let at = range.offsetBytes; at < endOf(range);) {
      const stop = Math.min(endOf(range), (Math.floor(at / windowBytes) + 1) * windowBytes)
      yield { offsetBytes: at, lengthBytes: stop - at }
      at = stop
    }
  }
}

async function writeContent(
  { sink, isBottom }: MergeCopy,
  offsetBytes: number,
  bytes: Uint8Array,
  call: CallOptions,
): Promise<void> {
  const isZeroAt = (at: number): boolean => isAllZeros(bytes.subarray(at, at + CLUSTER_BYTES))
  for (let at = 0; at < bytes.length;) {
    const zero = isZeroAt(at)
    let stop = at
    do stop += CLUSTER_BYTES
    while (stop < bytes.length && isZeroAt(stop) === zero)
    stop = Math.min(stop, bytes.length)
    if (!zero) await sink.write(offsetBytes + at, bytes.subarray(at, stop), call)
    else if (!isBottom) await sink.writeZeroes(offsetBytes + at, stop - at, call)
    at = stop
  }
}
