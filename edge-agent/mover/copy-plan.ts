import { setImmediate as nextTurn } from 'node:timers/promises'
import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import type { PlanExtent } from './extent-walk.ts'

/** Neighbouring chunks are worked on together up to this size, so that large reads stay large. */
const RUN_BYTES_MAX = 1024 * 1024
/** One request of zeros at most: what an NBD request of a range is cut into too. */
const ZERO_RUN_BYTES_MAX = 128 * 1024 * 1024
/** Chunks of one extent that are looked at before others get the thread again. */
const CHUNKS_A_TURN = 4096

/** Part of a run that has to be looked at. */
export interface PlannedRange extends Extent {
  /** Reads as zeros for certain: it is not read. */
  readonly zero: boolean
  /** Is as in the parent, and read only to complete its chunk: not of the plan. */
  readonly completing?: boolean
}

/** Whole neighbouring chunks, only the disk's last one short, and what of them has to be looked at. */
export interface DataRun extends Extent {
  readonly kind: 'data'
  /** Ordered, at least one. What lies between them is as in the parent; nothing does where chunks are completed. */
  readonly ranges: readonly PlannedRange[]
  /** Extents of the source whose first byte lies in here. */
  readonly extentsBegun: number
}

/** Whole neighbouring chunks that read as zeros now and may not have before: there is nothing to read. */
export interface ZeroRun extends Extent {
  readonly kind: 'zero'
}

export type CopyRun = DataRun | ZeroRun

export interface PlanOptions {
  readonly sizeBytes: number
  readonly chunkSizeBytes: number
  /** Whether the chunk of that index is known to be zeros where the copy goes. */
  readonly wasZero: (chunkIndex: number) => boolean
  /** Whether chunks that are zeros now and were not before make runs of zeros. If not they are data like any other. */
  readonly zeroRuns: boolean
  /** Whether chunks that have to be looked at are read whole. */
  readonly completeChunks: boolean
}

/** Bytes of the run's plan, as `doneBytes` counts them. */
export function plannedBytesOf(run: CopyRun): number {
  if (run.kind === 'zero') return 0
  return run.ranges.reduce((sum, { zero, completing, lengthBytes }) => {
    return zero || completing === true ? sum : sum + lengthBytes
  }, 0)
}

/** Bytes that are read from the source for a run, what completes its chunks included: what throttles are asked for. */
export function readBytesOf({ ranges }: DataRun): number {
  return ranges.reduce((sum, { zero, lengthBytes }) => (zero ? sum : sum + lengthBytes), 0)
}

/** How long a run of data is at most. */
export function runBytesMax(chunkSizeBytes: number): number {
  return Math.max(chunkSizeBytes, RUN_BYTES_MAX - (RUN_BYTES_MAX % chunkSizeBytes))
}

/**
 * The runs of a copy in the order of `extents`, several at once where they are known. Chunks that nothing has to be done for
 * are left out: without a byte to look at, or with nothing but known zeros in what was zeros before.
 */
export async function* planRuns(
  extents: AsyncIterable<PlanExtent>,
  options: PlanOptions,
): AsyncGenerator<readonly CopyRun[], void, undefined> {
  const planner = new RunPlanner(options)
  const stepBytes = CHUNKS_A_TURN * options.chunkSizeBytes
  for await (const extent of extents) {
    for (let at = extent.offsetBytes; at < endOf(extent); at += stepBytes) {
      if (at > extent.offsetBytes) await nextTurn()
      const lengthBytes = Math.min(stepBytes, endOf(extent) - at)
      const begins = extent.begins && at === extent.offsetBytes
      const runs = [...planner.add({ offsetBytes: at, lengthBytes, zero: extent.zero, begins })]
      if (runs.length > 0) yield runs
    }
  }
  yield [...planner.end()]
}

interface OpenChunk extends Extent {
  readonly index: number
  readonly ranges: PlannedRange[]
  extentsBegun: number
}

interface OpenRun {
  readonly kind: 'data' | 'zero'
  readonly offsetBytes: number
  lengthBytes: number
  readonly ranges: PlannedRange[]
  extentsBegun: number
}

/** Gathers extents by the chunks they touch, and chunks to runs. */
class RunPlanner {
  readonly #options: PlanOptions
  #chunk: OpenChunk | undefined
  #run: OpenRun | undefined

  constructor(options: PlanOptions) {
    this.#options = options
  }

  *add({ offsetBytes, lengthBytes, zero, begins }: PlanExtent): Generator<CopyRun, void, undefined> {
    const { chunkSizeBytes, sizeBytes } = this.#options
    const endBytes = offsetBytes + lengthBytes
    for (let at = offsetBytes; at < endBytes;) {
      const index = Math.floor(at / chunkSizeBytes)
      if (this.#chunk?.index !== index) {
        yield* this.#closeChunk()
        const startBytes = index * chunkSizeBytes
        const chunkBytes = Math.min(chunkSizeBytes, sizeBytes - startBytes)
        this.#chunk = { index, offsetBytes: startBytes, lengthBytes: chunkBytes, ranges: [], extentsBegun: 0 }
      }
      const stopBytes = Math.min(endBytes, endOf(this.#chunk))
      pushRange(this.#chunk.ranges, { offsetBytes: at, lengthBytes: stopBytes - at, zero })
      if (begins && at === offsetBytes) this.#chunk.extentsBegun += 1
      at = stopBytes
    }
  }

  *end(): Generator<CopyRun, void, undefined> {
    yield* this.#closeChunk()
    yield* this.#closeRun()
  }

  *#closeChunk(): Generator<CopyRun, void, undefined> {
    const chunk = this.#chunk
    this.#chunk = undefined
    if (chunk === undefined) return
    const hasData = chunk.ranges.some(({ zero }) => !zero)
    const wasZero = this.#options.wasZero(chunk.index)
    if (!hasData && wasZero) return
    const [only] = chunk.ranges
    const isAllZero = !hasData && only?.lengthBytes === chunk.lengthBytes
    const kind = isAllZero && this.#options.zeroRuns ? 'zero' : 'data'
    const chunkRanges = this.#options.completeChunks ? completed(chunk, wasZero) : chunk.ranges
    const bytesMax = kind === 'zero' ? ZERO_RUN_BYTES_MAX : runBytesMax(this.#options.chunkSizeBytes)
    const run = this.#run
    const joins = run?.kind === kind && endOf(run) === chunk.offsetBytes
    if (run !== undefined && joins && run.lengthBytes + chunk.lengthBytes <= bytesMax) {
      run.lengthBytes += chunk.lengthBytes
      run.extentsBegun += chunk.extentsBegun
      for (const range of chunkRanges) pushRange(run.ranges, range)
      return
    }
    yield* this.#closeRun()
    const { offsetBytes, lengthBytes, extentsBegun } = chunk
    this.#run = { kind, offsetBytes, lengthBytes, ranges: [...chunkRanges], extentsBegun }
  }

  *#closeRun(): Generator<CopyRun, void, undefined> {
    const run = this.#run
    this.#run = undefined
    if (run === undefined) return
    const { kind, offsetBytes, lengthBytes, ranges, extentsBegun } = run
    yield kind === 'zero'
      ? { kind, offsetBytes, lengthBytes }
      : { kind, offsetBytes, lengthBytes, ranges, extentsBegun }
  }
}

/** The ranges of a chunk and what lies between, before and behind them: zeros where the parent's chunk was zeros. */
function completed(chunk: OpenChunk, wasZero: boolean): readonly PlannedRange[] {
  const ranges: PlannedRange[] = []
  let at = chunk.offsetBytes
  const completeTo = (offsetBytes: number): void => {
    if (offsetBytes > at) {
      ranges.push({ offsetBytes: at, lengthBytes: offsetBytes - at, zero: wasZero, completing: true })
    }
  }
  for (const range of chunk.ranges) {
    completeTo(range.offsetBytes)
    ranges.push(range)
    at = endOf(range)
  }
  completeTo(endOf(chunk))
  return ranges
}

/** Joins touching ranges of the same kind. */
function pushRange(ranges: PlannedRange[], range: PlannedRange): void {
  const last = ranges.at(-1)
  const isSame = last?.zero === range.zero && last.completing === range.completing
  if (last !== undefined && isSame && endOf(last) === range.offsetBytes) {
    ranges[ranges.length - 1] = { ...last, lengthBytes: last.lengthBytes + range.lengthBytes }
  } else {
    ranges.push(range)
  }
}
