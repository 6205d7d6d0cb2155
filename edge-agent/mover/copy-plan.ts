import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import type { BlockExtent, BlockSource, CallOptions } from '../block/block-source.ts'
import type { ChunkIds } from './chunk-ids.ts'

/** Neighbouring chunks are worked on together up to this size, so that large reads stay large. */
const RUN_BYTES_MAX = 1024 * 1024

/** Part of a run that has to be looked at. */
export interface PlannedRange extends Extent {
  /** Reads as zeros for certain: it is not read. */
  readonly zero: boolean
}

/** Whole neighbouring chunks, only the disk's last one short, and what of them has to be looked at. */
export interface CopyRun extends Extent {
  /** Ordered, at least one. What lies between them is as in the parent. */
  readonly ranges: readonly PlannedRange[]
}

export interface PlanOptions {
  readonly chunkIds: ChunkIds
  /** Look only at dirty extents. */
  readonly dirtyOnly: boolean
}

/** How long a run is at most. */
export function runBytesMax(chunkIds: ChunkIds): number {
  const { chunkSizeBytes } = chunkIds
  return Math.max(chunkSizeBytes, RUN_BYTES_MAX - (RUN_BYTES_MAX % chunkSizeBytes))
}

/** How many bytes the plan means to look at: those of `planRuns` that are not known to be zero. */
export async function countPlannedBytes(source: BlockSource, options: PlanOptions, call: CallOptions): Promise<number> {
  let sumBytes = 0
  for await (const extent of extentsOf(source, options, call)) if (!extent.zero) sumBytes += extent.lengthBytes
  return sumBytes
}

/**
 * The runs of a copy in disk order. Chunks that nothing has to be done for are left out: without a dirty byte when only
 * dirty ones count, or with nothing but known zeros in what was zeros before.
 */
export async function* planRuns(
  source: BlockSource,
  options: PlanOptions,
  call: CallOptions,
): AsyncGenerator<CopyRun, void, undefined> {
  const { chunkIds } = options
  const runs = new RunBuilder(runBytesMax(chunkIds))
  for await (const chunk of chunksOf(extentsOf(source, options, call), chunkIds)) {
    const hasWork = chunk.ranges.some(({ zero }) => !zero) || !chunkIds.isZero(chunk.index)
    if (!hasWork) continue
    const full = runs.add(chunk)
    if (full !== undefined) yield full
  }
  const last = runs.take()
  if (last !== undefined) yield last
}

async function* extentsOf(
  source: BlockSource,
  { dirtyOnly }: PlanOptions,
  call: CallOptions,
): AsyncGenerator<BlockExtent, void, undefined> {
  if (source.sizeBytes === 0) return
  for await (const extent of source.extents({ offsetBytes: 0, lengthBytes: source.sizeBytes }, call)) {
    if (extent.dirty || !dirtyOnly) yield extent
  }
}

interface PlannedChunk extends Extent {
  readonly index: number
  readonly ranges: PlannedRange[]
}

/** Extents gathered by the chunks they touch; chunks that none touches do not come. */
async function* chunksOf(
  extents: AsyncIterable<BlockExtent>,
  { chunkSizeBytes, sizeBytes }: ChunkIds,
): AsyncGenerator<PlannedChunk, void, undefined> {
  let open: PlannedChunk | undefined
  for await (const { offsetBytes, lengthBytes, zero } of extents) {
    const endBytes = offsetBytes + lengthBytes
    for (let at = offsetBytes; at < endBytes;) {
      const index = Math.floor(at / chunkSizeBytes)
      if (open?.index !== index) {
        if (open !== undefined) yield open
        const startBytes = index * chunkSizeBytes
        const chunkBytes = Math.min(chunkSizeBytes, sizeBytes - startBytes)
        open = { index, offsetBytes: startBytes, lengthBytes: chunkBytes, ranges: [] }
      }
      const stopBytes = Math.min(endBytes, endOf(open))
      pushRange(open.ranges, { offsetBytes: at, lengthBytes: stopBytes - at, zero })
      at = stopBytes
    }
  }
  if (open !== undefined) yield open
}

/** Joins touching ranges of the same kind. */
function pushRange(ranges: PlannedRange[], range: PlannedRange): void {
  const last = ranges.at(-1)
  if (last !== undefined && endOf(last) === range.offsetBytes && last.zero === range.zero) {
    ranges[ranges.length - 1] = { ...last, lengthBytes: last.lengthBytes + range.lengthBytes }
  } else {
    ranges.push(range)
  }
}

class RunBuilder {
  readonly #bytesMax: number
  #open: { offsetBytes: number; lengthBytes: number; ranges: PlannedRange[] } | undefined

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** @returns the run before, when the chunk does not belong to it any more */
  add(chunk: PlannedChunk): CopyRun | undefined {
    const open = this.#open
    if (open !== undefined && endOf(open) === chunk.offsetBytes) {
      if (open.lengthBytes + chunk.lengthBytes <= this.#bytesMax) {
        open.lengthBytes += chunk.lengthBytes
        for (const range of chunk.ranges) pushRange(open.ranges, range)
        return undefined
      }
    }
    const { offsetBytes, lengthBytes, ranges } = chunk
    this.#open = { offsetBytes, lengthBytes, ranges: [...ranges] }
    return open
  }

  take(): CopyRun | undefined {
    const open = this.#open
    this.#open = undefined
    return open
  }
}
