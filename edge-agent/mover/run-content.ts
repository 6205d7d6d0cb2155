import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { settleAll } from '@sendense/shared/runtime/settle-all.ts'
import type { BlockSink } from '../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../block/block-source.ts'
import { isAllZeros } from './chunk-hash.ts'
import type { CopyCounters } from './copy-counters.ts'
import type { DataRun, PlannedRange } from './copy-plan.ts'
import type { RunBuffer } from './slabs/run-buffer.ts'

/** Zeros inside data are told apart in pieces of this size: a QCOW2 cluster, and the grain of dirty bitmaps. */
const PIECE_BYTES = 64 * 1024

/** Reads a range into the run's buffer, where it belongs there. */
export async function readInto(
  source: BlockSource,
  range: Extent,
  { run, buffer, signal }: CallOptions & { readonly run: Extent; readonly buffer: RunBuffer },
): Promise<void> {
  const reads: Promise<void>[] = []
  beginReads(source, range, run, buffer, { signal }, reads)
  await settleAll(reads)
}

function beginReads(
  source: BlockSource,
  { offsetBytes, lengthBytes }: Extent,
  run: Extent,
  buffer: RunBuffer,
  call: CallOptions,
  into: Promise<void>[],
): void {
  let at = offsetBytes
  for (const part of buffer.parts(offsetBytes - run.offsetBytes, lengthBytes)) {
    into.push(source.read(at, part, call))
    at += part.length
  }
}

/** Brings the planned ranges of a run into its buffer: from the source, or as zeros where they are known. */
export async function readRanges(
  source: BlockSource,
  run: DataRun,
  buffer: RunBuffer,
  call: CallOptions,
): Promise<void> {
  const reads: Promise<void>[] = []
  for (const range of joinTouching(run.ranges)) {
    if (range.zero) fillZeros(buffer, range, run)
    else beginReads(source, range, run, buffer, call, reads)
  }
  await settleAll(reads)
}

/** Makes a range of the run's buffer zeros. */
export function fillZeros(buffer: RunBuffer, { offsetBytes, lengthBytes }: Extent, run: Extent): void {
  for (const part of buffer.parts(offsetBytes - run.offsetBytes, lengthBytes)) part.fill(0)
}

/** A range of a run to be written, as data or as zeros. */
export type WritePiece = PlannedRange

/** What of a range, whose content is in the buffer, is data and what is zeros; neighbours of a kind are not joined. */
export function* splitByContent(range: PlannedRange, run: Extent, buffer: RunBuffer): Generator<WritePiece> {
  if (range.zero) {
    yield range
    return
  }
  for (let at = range.offsetBytes; at < endOf(range);) {
    const stopBytes = Math.min(endOf(range), (Math.floor(at / PIECE_BYTES) + 1) * PIECE_BYTES)
    const lengthBytes = stopBytes - at
    const zero = buffer.parts(at - run.offsetBytes, lengthBytes).every((part) => isAllZeros(part))
    yield { offsetBytes: at, lengthBytes, zero }
    at = stopBytes
  }
}

/** Writes pieces of a run, touching ones of a kind together. */
export async function writePieces(
  sink: BlockSink,
  pieces: Iterable<WritePiece>,
  { run, buffer, counters, signal }: CallOptions & { run: DataRun; buffer: RunBuffer; counters: CopyCounters },
): Promise<void> {
  const writes: Promise<void>[] = []
  for (const { offsetBytes, lengthBytes, zero } of joinTouching(pieces)) {
    counters.add(zero ? 'zeroedBytes' : 'writtenBytes', lengthBytes)
    if (zero) {
      writes.push(sink.writeZeroes(offsetBytes, lengthBytes, { signal }))
      continue
    }
    let at = offsetBytes
    for (const part of buffer.parts(offsetBytes - run.offsetBytes, lengthBytes)) {
      writes.push(sink.write(at, part, { signal }))
      at += part.length
    }
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

/** The chunks of a run. */
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
