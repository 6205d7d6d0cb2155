import { type FileHandle, open } from 'node:fs/promises'
import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { expectOnDisk } from './block-range.ts'
import type { BlockExtent, BlockSource, CallOptions } from './block-source.ts'

export interface RawFileOptions extends CallOptions {
  /** Ranges that read as zeros for certain, in order, without overlaps. Asked once, of files only. Absent: none is known. */
  readonly findZeroRanges?: (path: string, options: CallOptions) => Promise<readonly Extent[]>
}

/**
 * A file or block device whose bytes are the disk's, read-only. Nobody may change it meanwhile.
 * Rejects with `input.invalid` where there is no such file, it is a folder, or it may not be read, and as `findZeroRanges`.
 */
export async function openRawFileSource(path: string, options: RawFileOptions): Promise<BlockSource> {
  const handle = await openForReading(path)
  try {
    const sizeBytes = await sizeOf(handle, path)
    const isFile = (await handle.stat()).isFile()
    const zeroRanges = isFile ? ((await options.findZeroRanges?.(path, options)) ?? []) : []
    return {
      sizeBytes,
      extents: (range, call) => extentsOf(sizeBytes, zeroRanges, range, call),
      read: async (offsetBytes, into, { signal }) => {
        signal.throwIfAborted()
        expectOnDisk(sizeBytes, offsetBytes, into.length)
        await readAll(handle, path, offsetBytes, into)
      },
      [Symbol.asyncDispose]: async () => await handle.close(),
    }
  } catch (error) {
    await handle.close()
    throw error
  }
}

async function openForReading(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new PlatformError('input.invalid', `cannot read ${path}: ${why}`, { cause: error })
  }
}

async function sizeOf(handle: FileHandle, path: string): Promise<number> {
  const facts = await handle.stat()
  if (facts.isFile()) return facts.size
  if (facts.isBlockDevice()) return await sizeOfDevice(handle)
  throw new PlatformError('input.invalid', `${path} is neither a file nor a block device`)
}

/** What can be read: `stat` knows no size of a device. Halves the range in which the end lies. */
async function sizeOfDevice(handle: FileHandle): Promise<number> {
  const probe = new Uint8Array(1)
  const isThere = async (at: number): Promise<boolean> => (await handle.read(probe, 0, 1, at)).bytesRead === 1
  let low = 0
  let high = 1
  while (high < Number.MAX_SAFE_INTEGER / 2 && (await isThere(high - 1))) [low, high] = [high, high * 2]
  while (low < high) {
    const middle = low + Math.floor((high - low) / 2)
    if (await isThere(middle)) low = middle + 1
    else high = middle
  }
  return low
}

async function readAll(handle: FileHandle, path: string, offsetBytes: number, into: Uint8Array): Promise<void> {
  for (let at = 0; at < into.length;) {
    const { bytesRead } = await readSome(handle, path, offsetBytes + at, into.subarray(at))
    if (bytesRead === 0) throw readFailed(path, offsetBytes + at, 'the file ends there, it became shorter')
    at += bytesRead
  }
}

async function readSome(handle: FileHandle, path: string, offsetBytes: number, into: Uint8Array) {
  try {
    return await handle.read(into, 0, into.length, offsetBytes)
  } catch (error) {
    throw readFailed(path, offsetBytes, error instanceof Error ? error.message : String(error), error)
  }
}

function readFailed(path: string, offsetBytes: number, why: string, cause?: unknown): PlatformError {
  const text = `reading ${path} at byte ${offsetBytes} failed: ${why}`
  return new PlatformError('source.read_failed', text, { cause, details: { offsetBytes } })
}

async function* extentsOf(
  sizeBytes: number,
  zeroRanges: readonly Extent[],
  range: Extent,
  { signal }: CallOptions,
): AsyncGenerator<BlockExtent> {
  signal.throwIfAborted()
  expectOnDisk(sizeBytes, range.offsetBytes, range.lengthBytes)
  let at = range.offsetBytes
  for (let index = firstAfter(zeroRanges, at); index < zeroRanges.length && at < endOf(range); index += 1) {
    signal.throwIfAborted()
    const zeros = zeroRanges[index]
    if (zeros === undefined || zeros.offsetBytes >= endOf(range)) break
    const start = Math.max(zeros.offsetBytes, at)
    const end = Math.min(endOf(zeros), endOf(range))
    if (start > at) yield { offsetBytes: at, lengthBytes: start - at, zero: false, dirty: true }
    if (end > start) yield { offsetBytes: start, lengthBytes: end - start, zero: true, dirty: true }
    at = Math.max(at, end)
  }
  if (at < endOf(range)) yield { offsetBytes: at, lengthBytes: endOf(range) - at, zero: false, dirty: true }
}

/** The first of the ranges that ends after the byte. */
function firstAfter(ranges: readonly Extent[], offsetBytes: number): number {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const range = ranges[middle]
    if (range !== undefined && endOf(range) <= offsetBytes) low = middle + 1
    else high = middle
  }
  return low
}
