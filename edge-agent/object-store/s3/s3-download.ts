import { Readable } from 'node:stream'
import { GetObjectCommand, type GetObjectCommandOutput } from '@aws-sdk/client-s3'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../object-store.ts'
import { rangesOf, runParallel } from '../run-parallel.ts'
import { s3Code } from './s3-errors.ts'
import type { RequestOptions, S3Session } from './s3-session.ts'

const RANGE_BYTES = 8 * 1024 * 1024
const RANGES_AT_ONCE = 4
const IN_MEMORY_MAX_BYTES = 1024 ** 3

export interface ObjectAddress {
  readonly key: string
  readonly versionId?: string | undefined
}

interface Answer {
  readonly bytes: Uint8Array
  /** Of the whole object. */
  readonly sizeBytes: number
  readonly etag: string | undefined
}

interface RangeRequest extends ObjectAddress, CallOptions {
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** Where the bytes go; absent: new memory. */
  readonly into?: Uint8Array
  /** Only that content: ranges of two contents under one key are never mixed. */
  readonly etag?: string | undefined
}

/** The whole object: its size comes with the first range, the others are read side by side. */
export async function downloadObject(
  session: S3Session,
  address: ObjectAddress,
  options: CallOptions,
): Promise<Uint8Array> {
  const first = await getRange(session, { ...address, ...options, offsetBytes: 0, lengthBytes: RANGE_BYTES })
  if (first.sizeBytes === first.bytes.length) return first.bytes
  if (first.sizeBytes > IN_MEMORY_MAX_BYTES) {
    throw new PlatformError('input.invalid', `object ${address.key} has ${first.sizeBytes} bytes: read it in ranges`)
  }
  const whole = new Uint8Array(first.sizeBytes)
  whole.set(first.bytes)
  await fillRanges(session, address, whole, { ...options, startBytes: first.bytes.length, etag: first.etag })
  return whole
}

/** Fills `into`; undefined when the range does not lie within the object: its bytes are of no use then. */
export async function downloadRange(
  session: S3Session,
  address: ObjectAddress,
  offsetBytes: number,
  into: Uint8Array,
  options: CallOptions,
): Promise<'filled' | 'outside'> {
  const firstBytes = Math.min(RANGE_BYTES, into.length)
  let first: Answer
  try {
    const part = into.subarray(0, firstBytes)
    first = await getRange(session, { ...address, ...options, offsetBytes, lengthBytes: firstBytes, into: part })
  } catch (error) {
    if (isOutside(error)) return 'outside'
    throw error
  }
  if (offsetBytes + into.length > first.sizeBytes) return 'outside'
  const rest = { ...options, startBytes: firstBytes, baseBytes: offsetBytes, etag: first.etag }
  await fillRanges(session, address, into, rest)
  return 'filled'
}

async function fillRanges(
  session: S3Session,
  address: ObjectAddress,
  into: Uint8Array,
  options: CallOptions & { startBytes: number; baseBytes?: number; etag: string | undefined },
): Promise<void> {
  const { signal, startBytes, baseBytes = 0, etag } = options
  const ranges = rangesOf(into.length, RANGE_BYTES, startBytes)
  await runParallel(ranges, { concurrency: RANGES_AT_ONCE, signal }, async ({ offsetBytes, lengthBytes }, call) => {
    const part = into.subarray(offsetBytes, offsetBytes + lengthBytes)
    const range = { offsetBytes: baseBytes + offsetBytes, lengthBytes, into: part, etag }
    await getRange(session, { ...address, ...call, ...range })
  })
}

/** Resolves with what there is of the range when the object ends within it. */
async function getRange(session: S3Session, range: RangeRequest): Promise<Answer> {
  const { key, versionId, etag, offsetBytes, lengthBytes, signal } = range
  const facts = { signal, what: `reading object ${key}` }
  const input = {
    ...session.path(key),
    ...(versionId === undefined ? {} : { VersionId: versionId }),
    ...(etag === undefined ? {} : { IfMatch: etag }),
  }
  try {
    return await session.request(facts, async (options) => {
      const Range = `bytes=${offsetBytes}-${offsetBytes + lengthBytes - 1}`
      const answer = await session.client.send(new GetObjectCommand({ ...input, Range }), options)
      return await collect(answer, range, options)
    })
  } catch (error) {
    // An empty object has no first byte.
    if (!isOutside(error) || offsetBytes > 0 || range.into !== undefined) throw error
    return await session.request(facts, async (options) => {
      const answer = await session.client.send(new GetObjectCommand(input), options)
      return await collect(answer, range, options)
    })
  }
}

async function collect(
  answer: GetObjectCommandOutput,
  range: RangeRequest,
  { abortSignal: signal, expectBytes }: RequestOptions,
): Promise<Answer> {
  const { key, offsetBytes } = range
  const stream = answer.Body
  if (!(stream instanceof Readable)) throw new PlatformError('storage.refused', `object ${key} came without a body`)
  const stop = (): void => void stream.destroy(signal.reason instanceof Error ? signal.reason : new Error('stopped'))
  signal.addEventListener('abort', stop, { once: true })
  try {
    if (signal.aborted) stop()
    const { startBytes, sizeBytes, lengthBytes } = describeAnswer(answer, key)
    if (startBytes !== offsetBytes || lengthBytes > range.lengthBytes) {
      stream.destroy()
      const text = `bytes ${startBytes} to ${startBytes + lengthBytes} of object ${key} came, others were asked for`
      throw new PlatformError('storage.unsupported', text)
    }
    expectBytes(lengthBytes)
    const bytes = range.into?.subarray(0, lengthBytes) ?? new Uint8Array(lengthBytes)
    await fill(stream, bytes, key)
    return { bytes, sizeBytes, etag: answer.ETag }
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** What the bytes of an answer are: RFC 9110, 14.4 "Content-Range", or all of the object without it. */
function describeAnswer({ ContentRange, ContentLength = 0 }: GetObjectCommandOutput, key: string) {
  if (ContentRange === undefined) return { startBytes: 0, sizeBytes: ContentLength, lengthBytes: ContentLength }
  const found = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(ContentRange)
  const [startBytes, lastBytes, sizeBytes] = (found ?? []).slice(1).map(Number)
  if (startBytes === undefined || lastBytes === undefined || sizeBytes === undefined) {
    throw new PlatformError('storage.refused', `object ${key} came with the range ${JSON.stringify(ContentRange)}`)
  }
  return { startBytes, sizeBytes, lengthBytes: lastBytes - startBytes + 1 }
}

async function fill(stream: Readable, into: Uint8Array, key: string): Promise<void> {
  let filled = 0
  for await (const chunk of stream as AsyncIterable<Uint8Array>) {
    if (filled + chunk.length > into.length) {
      throw new PlatformError('storage.refused', `object ${key}: more bytes came than were announced`)
    }
    into.set(chunk, filled)
    filled += chunk.length
  }
  if (filled === into.length) return
  throw new PlatformError(
    'storage.unreachable',
    `object ${key}: the connection ended ${into.length - filled} bytes early`,
  )
}

function isOutside(error: unknown): boolean {
  const cause = error instanceof PlatformError ? error.cause : error
  return s3Code(cause) === 'InvalidRange'
}
