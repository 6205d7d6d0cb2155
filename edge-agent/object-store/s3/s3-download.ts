import { Readable } from 'node:stream'
import { GetObjectCommand, type GetObjectCommandOutput } from '@aws-sdk/client-s3'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { fillFromStream, parseContentRange } from '../fill-from-stream.ts'
import type { GetRange, RangeAnswer, RangeRequest } from '../ranged-download.ts'
import type { RequestOptions } from '../request-deadline.ts'
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
        return await collect(key, await session.client.send(command, options), range, options)
      })
    } catch (error) {
      if (error instanceof PlatformError && s3Code(error.cause) === 'InvalidRange') return 'outside'
      throw error
    }
  }
}

async function collect(
  key: string,
  answer: GetObjectCommandOutput,
  range: RangeRequest,
  { abortSignal, expectBytes }: RequestOptions,
): Promise<RangeAnswer> {
  const stream = answer.Body
  if (!(stream instanceof Readable)) throw new PlatformError('storage.refused', `object ${key} came without a body`)
  const wholeBytes = answer.ContentLength ?? 0
  const { startBytes, sizeBytes, lengthBytes } =
    answer.ContentRange === undefined
      ? { startBytes: 0, sizeBytes: wholeBytes, lengthBytes: wholeBytes }
      : parseContentRange(answer.ContentRange, key)
  if (startBytes !== range.offsetBytes || lengthBytes > range.lengthBytes) {
    stream.destroy()
    const text = `bytes ${startBytes} to ${startBytes + lengthBytes} of object ${key} came, others were asked for`
    throw new PlatformError('storage.unsupported', text)
  }
  expectBytes(lengthBytes)
  const bytes = range.into?.subarray(0, lengthBytes) ?? new Uint8Array(lengthBytes)
  await fillFromStream(stream, bytes, { key, signal: abortSignal })
  return { bytes, sizeBytes, etag: answer.ETag }
}
