import { Readable } from 'node:stream'
import type { BlobDownloadResponseParsed } from '@azure/storage-blob'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { fillFromStream, parseContentRange } from '../fill-from-stream.ts'
import type { GetRange, RangeAnswer, RangeRequest } from '../ranged-download.ts'
import type { RequestOptions } from '../request-deadline.ts'
import { azureCode } from './azure-errors.ts'
import type { AzureSession } from './azure-session.ts'

/** Ranges of a blob, or of one of its versions. */
export function rangesOfBlob(session: AzureSession, key: string, versionId?: string): GetRange {
  return async (range) => {
    const { signal, offsetBytes, lengthBytes, etag } = range
    try {
      return await session.request({ signal, what: `reading object ${key}` }, async (options) => {
        const { abortSignal } = options
        const conditions = etag === undefined ? {} : { ifMatch: etag }
        const call = { abortSignal, conditions, maxRetryRequests: 0 }
        const answer = await session.blob(key, versionId).download(offsetBytes, lengthBytes, call)
        return await collect(key, answer, range, options)
      })
    } catch (error) {
      if (error instanceof PlatformError && azureCode(error.cause) === 'InvalidRange') return 'outside'
      throw error
    }
  }
}

async function collect(
  key: string,
  answer: BlobDownloadResponseParsed,
  range: RangeRequest,
  { abortSignal, expectBytes }: RequestOptions,
): Promise<RangeAnswer> {
  const stream = answer.readableStreamBody
  if (!(stream instanceof Readable)) throw new PlatformError('storage.refused', `object ${key} came without a body`)
  const wholeBytes = answer.contentLength ?? 0
  const { startBytes, sizeBytes, lengthBytes } =
    answer.contentRange === undefined
      ? { startBytes: 0, sizeBytes: wholeBytes, lengthBytes: wholeBytes }
      : parseContentRange(answer.contentRange, key)
  if (startBytes !== range.offsetBytes || lengthBytes > range.lengthBytes) {
    stream.destroy()
    const text = `bytes ${startBytes} to ${startBytes + lengthBytes} of object ${key} came, others were asked for`
    throw new PlatformError('storage.unsupported', text)
  }
  expectBytes(lengthBytes)
  const bytes = range.into?.subarray(0, lengthBytes) ?? new Uint8Array(lengthBytes)
  await fillFromStream(stream, bytes, { key, signal: abortSignal })
  return { bytes, sizeBytes, etag: answer.etag }
}
