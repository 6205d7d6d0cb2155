import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockSink } from '../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../block/block-source.ts'
import { isAllZeros } from './chunk-hash.ts'
import type { CopyCounters } from './copy-counters.ts'
import type { CopyRun, PlannedRange } from './copy-plan.ts'

/** Zeros inside data are told apart in pieces of this size: a QCOW2 cluster, and the grain of dirty bitmaps. */
const PIECE_BYTES = 64 * 1024

/** Brings the planned ranges of a run into its slab: from the source, or as zeros where they are known. */
export async function readRanges(
  source: BlockSource,
  run: CopyRun,
  slab: Uint8Array,
  options: CallOptions,
): Promise<void> {
  const reads: Promise<void>[] = []
  for (const range of run.ranges) {
    const start = range.offsetBytes - run.offsetBytes
    const part = slab.subarray(start, start + range.lengthBytes)
    if (range.zero) part.fill(0)
    else reads.push(source.read(range.offsetBytes, part, options))
  }
  await settleAll(reads)
}

/** A range of a run to be written, as data or as zeros. */
export type WritePiece = PlannedRange

/** What of a range, whose content is in the slab, is data and what is zeros; neighbours of a kind are one piece. */
export function* splitByContent(range: PlannedRange, run: Extent, slab: Uint8Array): Generator<WritePiece> {
  if (range.zero) {
    yield range
    return
  }
  for (let at = range.offsetBytes; at < endOf(range);) {
    const stopBytes = Math.min(endOf(range), (Math.floor(at / PIECE_BYTES) + 1) * PIECE_BYTES)
    const zero = isAllZeros(slab.subarray(at - run.offsetBytes, stopBytes - run.offsetBytes))
    yield { offsetBytes: at, lengthBytes: stopBytes - at, zero }
    at = stopBytes
  }
}

/** Writes pieces of a run, touching ones of a kind together. */
export async function writePieces(
  sink: BlockSink,
  pieces: Iterable<WritePiece>,
  { run, slab, counters, signal }: CallOptions & { run: CopyRun; slab: Uint8Array; counters: CopyCounters },
): Promise<void> {
  const writes: Promise<void>[] = []
  for (const { offsetBytes, lengthBytes, zero } of joinTouching(pieces)) {
    counters.add(zero ? 'zeroedBytes' : 'writtenBytes', lengthBytes)
    const start = offsetBytes - run.offsetBytes
    const bytes = slab.subarray(start, start + lengthBytes)
    writes.push(
      zero ? sink.writeZeroes(offsetBytes, lengthBytes, { signal }) : sink.write(offsetBytes, bytes, { signal }),
    )
  }
  await settleAll(writes)
}

function* joinTouching(pieces: Iterable<WritePiece>): Generator<WritePiece> {
  let open: WritePiece | undefined
  for (const piece of pieces) {
    if (open !== undefined && endOf(open) === piece.offsetBytes && open.zero === piece.zero) {
      open = { ...open, lengthBytes: open.lengthBytes + piece.lengthBytes }
    } else {
      if (open !== undefined) yield open
      open = piece
    }
  }
  if (open !== undefined) yield open
}

/** Bytes of the run's plan, as `doneBytes` counts them. */
export function plannedBytesOf(run: CopyRun): number {
  return run.ranges.reduce((sum, { zero, lengthBytes }) => (zero ? sum : sum + lengthBytes), 0)
}

/** The chunks of a run, with where they lie in its slab. */
export function* chunksOfRun(run: Extent, chunkSizeBytes: number): Generator<Extent & { readonly index: number }> {
  for (let at = run.offsetBytes; at < endOf(run); at += chunkSizeBytes) {
    const lengthBytes = Math.min(chunkSizeBytes, endOf(run) - at)
    yield { index: at / chunkSizeBytes, offsetBytes: at, lengthBytes }
  }
}

/** A chunk that does not read as its id says. */
export function chunkCorrupt(what: string, offsetBytes: number, lengthBytes: number): PlatformError {
  const message = `${what}: the chunk at byte ${offsetBytes} does not match its id`
  return new PlatformError('repository.chunk_corrupt', message, { details: { offsetBytes, lengthBytes } })
}

/** Waits for all, so that no buffer is in use any more, then rejects with the first failure if there is one. */
export async function settleAll(works: readonly Promise<void>[]): Promise<void> {
  const ends = await Promise.allSettled(works)
  for (const end of ends) if (end.status === 'rejected') throw end.reason
}
