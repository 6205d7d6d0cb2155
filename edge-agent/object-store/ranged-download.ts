import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from './object-store.ts'
import { rangesOf, runParallel } from './run-parallel.ts'

const RANGE_BYTES = 8 * 1024 * 1024
const RANGES_AT_ONCE = 4
const IN_MEMORY_MAX_BYTES = 1024 ** 3

export interface RangeRequest extends CallOptions {
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** Where the bytes go; absent: new memory. */
  readonly into?: Uint8Array
  /** Only that content: ranges of two contents under one key are never mixed. */
  readonly etag?: string | undefined
}

export interface RangeAnswer {
  readonly bytes: Uint8Array
  /** Of the whole object. */
  readonly sizeBytes: number
  readonly etag: string | undefined
}

/**
 * Asks for a range. Resolves with what there is of it when the object ends within it, `outside` when it begins behind
 * the object's end.
 */
export type GetRange = (request: RangeRequest) => Promise<RangeAnswer | 'outside'>

/** The whole object: its size comes with the first range, the others are read side by side. */
export async function downloadWhole(key: string, getRange: GetRange, options: CallOptions): Promise<Uint8Array> {
  const first = await getRange({ ...options, offsetBytes: 0, lengthBytes: RANGE_BYTES })
  if (first === 'outside') return new Uint8Array(0) // an empty object has no first byte
  if (first.sizeBytes === first.bytes.length) return first.bytes
  if (first.sizeBytes > IN_MEMORY_MAX_BYTES) {
    throw new PlatformError('input.invalid', `object ${key} has ${first.sizeBytes} bytes: read it in ranges`)
  }
  const whole = new Uint8Array(first.sizeBytes)
  whole.set(first.bytes)
  const rest = { ...options, startBytes: first.bytes.length, baseBytes: 0, etag: first.etag }
  await fillRanges(key, getRange, whole, rest)
  return whole
}

/** Fills `into`, or resolves with `outside` when the range leaves the object: what was filled is of no use then. */
export async function downloadRange(
  key: string,
  getRange: GetRange,
  target: { readonly offsetBytes: number; readonly into: Uint8Array },
  options: CallOptions,
): Promise<'filled' | 'outside'> {
  const { offsetBytes, into } = target
  const lengthBytes = Math.min(RANGE_BYTES, into.length)
  const part = into.subarray(0, lengthBytes)
  const first = await getRange({ ...options, offsetBytes, lengthBytes, into: part })
  if (first === 'outside' || offsetBytes + into.length > first.sizeBytes) return 'outside'
  const rest = { ...options, startBytes: lengthBytes, baseBytes: offsetBytes, etag: first.etag }
  await fillRanges(key, getRange, into, rest)
  return 'filled'
}

async function fillRanges(
  key: string,
  getRange: GetRange,
  into: Uint8Array,
  options: CallOptions & { startBytes: number; baseBytes: number; etag: string | undefined },
): Promise<void> {
  const { signal, startBytes, baseBytes, etag } = options
  const ranges = rangesOf(into.length, RANGE_BYTES, startBytes)
  await runParallel(ranges, { concurrency: RANGES_AT_ONCE, signal }, async ({ offsetBytes, lengthBytes }, call) => {
    const part = into.subarray(offsetBytes, offsetBytes + lengthBytes)
    const answer = await getRange({ ...call, offsetBytes: baseBytes + offsetBytes, lengthBytes, into: part, etag })
    if (answer === 'outside' || answer.bytes.length !== lengthBytes) {
      throw new PlatformError('storage.unavailable', `object ${key} became shorter while it was read`)
    }
  })
}
