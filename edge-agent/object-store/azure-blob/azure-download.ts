import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { GetRange } from '../ranged-download.ts'
import { receiveRange } from '../receive-range.ts'
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
        const { readableStreamBody: body, contentLength, contentRange, etag: found } = answer
        const received = { body, lengthBytes: contentLength, contentRange, etag: found }
        return await receiveRange(key, received, range, options)
      })
    } catch (error) {
      if (error instanceof PlatformError && azureCode(error.cause) === 'InvalidRange') return 'outside'
      throw error
    }
  }
}
