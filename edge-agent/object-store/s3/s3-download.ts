import { GetObjectCommand } from '@aws-sdk/client-s3'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { GetRange } from '../ranged-download.ts'
import { receiveRange } from '../receive-range.ts'
import { s3Code } from './s3-errors.ts'
import type { S3Session } from './s3-session.ts'

/** Ranges of an object, or of one of its versions. */
export function rangesOfObject(session: S3Session, key: string, versionId?: string): GetRange {
  return async (range) => {
    const { etag, offsetBytes, lengthBytes, signal } = range
    const command = new GetObjectCommand({
      ...session.path(key),
      ...(versionId === undefined ? {} : { VersionId: versionId }),
      ...(etag === undefined ? {} : { IfMatch: etag }),
      Range: `bytes=${offsetBytes}-${offsetBytes + lengthBytes - 1}`,
    })
    try {
      return await session.request({ signal, what: `reading object ${key}` }, async (options) => {
        const answer = await session.client.send(command, options)
        const { Body: body, ContentLength, ContentRange: contentRange, ETag } = answer
        const received = { body, lengthBytes: ContentLength, contentRange, etag: ETag }
        return await receiveRange(key, received, range, options)
      })
    } catch (error) {
      if (error instanceof PlatformError && s3Code(error.cause) === 'InvalidRange') return 'outside'
      throw error
    }
  }
}
