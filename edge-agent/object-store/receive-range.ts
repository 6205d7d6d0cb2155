import { Readable } from 'node:stream'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { fillFromStream, parseContentRange } from './fill-from-stream.ts'
import type { RangeAnswer, RangeRequest } from './ranged-download.ts'
import type { RequestOptions } from './request-deadline.ts'

/** A store's answer to a request for a range, as HTTP has it. */
export interface ReceivedAnswer {
  readonly body: unknown
  /** Content-Length. */
  readonly lengthBytes: number | undefined
  /** Content-Range. Absent: the whole object came. */
  readonly contentRange: string | undefined
  readonly etag: string | undefined
}

/**
 * The bytes of a range, once it is the one that was asked for. Rejects with `storage.refused` where the answer has no body
 * or does not hold what it announces, `storage.unsupported` where other bytes came, `storage.unreachable` where it ends early.
 */
export async function receiveRange(
  key: string,
  answer: ReceivedAnswer,
  range: RangeRequest,
  { abortSignal, expectBytes }: RequestOptions,
): Promise<RangeAnswer> {
  const { body, contentRange, etag } = answer
  if (!(body instanceof Readable)) throw new PlatformError('storage.refused', `object ${key} came without a body`)
  const wholeBytes = answer.lengthBytes ?? 0
  const { startBytes, sizeBytes, lengthBytes } =
    contentRange === undefined
      ? { startBytes: 0, sizeBytes: wholeBytes, lengthBytes: wholeBytes }
      : parseContentRange(contentRange, key)
  if (startBytes !== range.offsetBytes || lengthBytes > range.lengthBytes) {
    body.destroy()
    const text = `bytes ${startBytes} to ${startBytes + lengthBytes} of object ${key} came, others were asked for`
    throw new PlatformError('storage.unsupported', text)
  }
  expectBytes(lengthBytes)
  const bytes = range.into?.subarray(0, lengthBytes) ?? new Uint8Array(lengthBytes)
  await fillFromStream(body, bytes, { key, signal: abortSignal })
  return { bytes, sizeBytes, etag }
}
