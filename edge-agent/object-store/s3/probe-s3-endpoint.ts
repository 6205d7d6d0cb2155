import { createHash } from 'node:crypto'
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  GetObjectRetentionCommand,
  PutObjectCommand,
  PutObjectLegalHoldCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { probe, type ProbedCapability, type ProbeFinding, type ProbeOutcome } from '../store-probe.ts'
import { S3StoreConfig, type S3StoreSettings } from './s3-config.ts'
import { S3Session } from './s3-session.ts'
import { askBucket, type BucketFacts } from './s3-store.ts'

const PART_BYTES = 5 * 1024 * 1024

interface ProbeOptions {
  readonly signal: AbortSignal
  /** Ends with a slash; below the store's own prefix. */
  readonly prefix: string
  /** Objects that are locked by the probe stay until then. */
  readonly retainUntil: Date
}

type Found = Omit<ProbeFinding, 'capability'>

/** What a bucket really does, request by request. Leaves objects under the prefix; whoever calls deletes them. */
export async function probeS3Endpoint(settings: S3StoreSettings, options: ProbeOptions): Promise<ProbeFinding[]> {
  using session = new S3Session(S3StoreConfig.parse(settings))
  const { signal } = options
  const bucket = await askBucket(session, { signal })
  const trials: [ProbedCapability, () => Promise<Found>][] = [
    ['versioning', async () => tellVersioning(bucket)],
    ['range-reads', async () => await tryRange(session, options)],
    ['multipart', async () => await tryMultipart(session, options)],
    ['payload-hash', async () => await tryPayloadHash(session, options)],
    ['checksum-headers', async () => await tryChecksumHeader(session, options)],
    ['batch-delete', async () => await tryBatchDelete(session, options)],
    ['conditional-put', async () => await tryConditionalPut(session, options)],
    ['object-lock', async () => tellLock(bucket)],
  ]
  if (bucket.objectLock) {
    trials.push(
      ['governance', async () => await tryRetention(session, options, 'GOVERNANCE')],
      ['compliance', async () => await tryRetention(session, options, 'COMPLIANCE')],
      ['legal-hold', async () => await tryLegalHold(session, options)],
      ['retention-of-multipart', async () => await tryLockedMultipart(session, options)],
    )
  }
  const findings: ProbeFinding[] = []
  for (const [capability, work] of trials) findings.push(await probe(capability, signal, work))
  return findings
}

function tellVersioning({ versioned }: BucketFacts): Found {
  return versioned
    ? found('works', 'old versions are kept')
    : found('absent', 'a key has one content; what is overwritten or deleted is gone')
}

function tellLock({ objectLock }: BucketFacts): Found {
  return objectLock
    ? found('works', 'Object Lock is on')
    : found('absent', 'Object Lock is off: who holds the keys can delete everything')
}

async function tryRange(session: S3Session, options: ProbeOptions): Promise<Found> {
  await put(session, options, 'range', { Body: Buffer.from('0123456789') })
  const answer = await send(session, options, async (call) => {
    const command = new GetObjectCommand({ ...path(session, options, 'range'), Range: 'bytes=3-5' })
    const { Body, ContentRange } = await session.client.send(command, call)
    return { text: await Body?.transformToString(), ContentRange }
  })
  if (answer.text === '345' && answer.ContentRange === 'bytes 3-5/10')
    return found('works', 'parts of an object can be read')
  return found('wrong', `bytes 3 to 5 of ten are ${JSON.stringify(answer.text)}, range ${answer.ContentRange}`)
}

async function tryMultipart(session: S3Session, options: ProbeOptions): Promise<Found> {
  await uploadParts(session, options, 'multipart', {})
  const small = await send(session, options, async (call) => {
    const command = new GetObjectCommand({
      ...path(session, options, 'multipart'),
      Range: `bytes=${PART_BYTES}-${PART_BYTES}`,
    })
    return await session.client.send(command, call).then(async ({ Body }) => await Body?.transformToByteArray())
  })
  return small?.[0] === 2
    ? found('works', 'large objects go up in parts')
    : found('wrong', 'the parts of an object came back in another order')
}

async function tryPayloadHash(session: S3Session, options: ProbeOptions): Promise<Found> {
  const ContentMD5 = createHash('md5').update('another body').digest('base64')
  const refused = await isRefused(async () => await put(session, options, 'digest', { Body: 'a body', ContentMD5 }))
  return refused
    ? found('works', 'a body that is not what its checksum says is refused')
    : found('wrong', 'a body that is not what its Content-MD5 says was taken')
}

async function tryChecksumHeader(session: S3Session, options: ProbeOptions): Promise<Found> {
  // crc32 of "123456789" is the check value of its definition: cbf43926.
  const ChecksumCRC32 = Buffer.from('cbf43926', 'hex').toString('base64')
  try {
    await put(session, options, 'checksum', { Body: '123456789', ChecksumCRC32 })
  } catch (error) {
    if (!isAnswer(error)) throw error
    return found('absent', 'x-amz-checksum headers are refused; they are not used')
  }
  const wrong = Buffer.from('00000000', 'hex').toString('base64')
  const refused = await isRefused(
    async () => await put(session, options, 'checksum-2', { Body: '123456789', ChecksumCRC32: wrong }),
  )
  return refused
    ? found('works', 'x-amz-checksum headers are checked')
    : found('wrong', 'x-amz-checksum headers are taken and not looked at; they are not used')
}

async function tryBatchDelete(session: S3Session, options: ProbeOptions): Promise<Found> {
  await put(session, options, 'batch', { Body: 'x' })
  const Objects = [{ Key: path(session, options, 'batch').Key }, { Key: path(session, options, 'never-there').Key }]
  try {
    const answer = await send(session, options, async (call) =>
      session.client.send(new DeleteObjectsCommand({ Bucket: session.config.bucket, Delete: { Objects } }), call),
    )
    const deleted = answer.Deleted?.length ?? 0
    return deleted === 2
      ? found('works', 'many objects are deleted in one request')
      : found('wrong', `of two keys in one request ${deleted} are told as deleted; it is not used`)
  } catch (error) {
    if (!isAnswer(error)) throw error
    return found('absent', `many deletes in one request are refused; it is not used (${messageOf(error)})`)
  }
}

async function tryConditionalPut(session: S3Session, options: ProbeOptions): Promise<Found> {
  await put(session, options, 'condition', { Body: 'first' })
  const refused = await isRefused(
    async () => await put(session, options, 'condition', { Body: 'second', IfNoneMatch: '*' }),
  )
  return refused
    ? found('works', 'If-None-Match keeps an object from being overwritten; nothing relies on it')
    : found('wrong', 'If-None-Match is ignored: an object is overwritten all the same; nothing relies on it')
}

async function tryRetention(
  session: S3Session,
  options: ProbeOptions,
  mode: 'GOVERNANCE' | 'COMPLIANCE',
): Promise<Found> {
  const name = `retention-${mode.toLowerCase()}`
  await put(session, options, name, locked(options, mode))
  return await readRetention(session, options, name, mode)
}

async function tryLockedMultipart(session: S3Session, options: ProbeOptions): Promise<Found> {
  const { ObjectLockMode, ObjectLockRetainUntilDate } = locked(options, 'GOVERNANCE')
  await uploadParts(session, options, 'retention-multipart', { ObjectLockMode, ObjectLockRetainUntilDate })
  const told = await readRetention(session, options, 'retention-multipart', 'GOVERNANCE')
  if (told.outcome === 'works') return told
  return found('wrong', 'the retention of an upload in parts is forgotten; it is set again after each')
}

async function tryLegalHold(session: S3Session, options: ProbeOptions): Promise<Found> {
  await put(session, options, 'hold', { Body: 'x' })
  for (const Status of ['ON', 'OFF'] as const) {
    const command = new PutObjectLegalHoldCommand({ ...path(session, options, 'hold'), LegalHold: { Status } })
    await send(session, options, async (call) => session.client.send(command, call))
  }
  return found('works', 'an object can be held and released')
}

async function readRetention(session: S3Session, options: ProbeOptions, name: string, mode: string): Promise<Found> {
  try {
    const { Retention } = await send(session, options, async (call) =>
      session.client.send(new GetObjectRetentionCommand(path(session, options, name)), call),
    )
    const isSame = Retention?.RetainUntilDate?.getTime() === options.retainUntil.getTime() && Retention.Mode === mode
    return isSame
      ? found('works', 'the retention can be read as soon as the object is put')
      : found('wrong', `the retention reads as ${JSON.stringify(Retention)} just after the put`)
  } catch (error) {
    if (!isAnswer(error)) throw error
    return found('wrong', `the retention cannot be read just after the put: ${messageOf(error)}`)
  }
}

type LockInput = Pick<
  ConstructorParameters<typeof CreateMultipartUploadCommand>[0],
  'ObjectLockMode' | 'ObjectLockRetainUntilDate'
>

async function uploadParts(session: S3Session, options: ProbeOptions, name: string, lock: LockInput): Promise<void> {
  const target = path(session, options, name)
  await send(session, options, async (call) => {
    const { UploadId } = await session.client.send(new CreateMultipartUploadCommand({ ...target, ...lock }), call)
    const Parts: { PartNumber: number; ETag: string | undefined }[] = []
    for (const PartNumber of [1, 2]) {
      const Body = new Uint8Array(PartNumber === 1 ? PART_BYTES : 1).fill(PartNumber)
      const ContentMD5 = createHash('md5').update(Body).digest('base64')
      const part = new UploadPartCommand({ ...target, UploadId, PartNumber, Body, ContentMD5 })
      Parts.push({ PartNumber, ETag: (await session.client.send(part, call)).ETag })
    }
    const complete = new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts } })
    await session.client.send(complete, call)
  })
}

async function put(
  session: S3Session,
  options: ProbeOptions,
  name: string,
  input: Omit<ConstructorParameters<typeof PutObjectCommand>[0], 'Bucket' | 'Key'>,
): Promise<void> {
  await send(session, options, async (call) => {
    await session.client.send(new PutObjectCommand({ ...path(session, options, name), ...input }), call)
  })
}

function locked({ retainUntil }: ProbeOptions, mode: 'GOVERNANCE' | 'COMPLIANCE') {
  const Body = 'locked for a moment'
  const ContentMD5 = createHash('md5').update(Body).digest('base64')
  return { Body, ContentMD5, ObjectLockMode: mode, ObjectLockRetainUntilDate: retainUntil }
}

function path(session: S3Session, { prefix }: ProbeOptions, name: string) {
  return session.path(`${prefix}${name}`)
}

async function send<T>(
  session: S3Session,
  { signal }: ProbeOptions,
  work: (call: { abortSignal: AbortSignal }) => Promise<T>,
): Promise<T> {
  return await session.request({ signal, what: 'trying', bytes: PART_BYTES }, work)
}

/** Whether the endpoint answers with an error; an endpoint that does not answer rejects. */
async function isRefused(work: () => Promise<void>): Promise<boolean> {
  try {
    await work()
    return false
  } catch (error) {
    if (isAnswer(error)) return true
    throw error
  }
}

function isAnswer(error: unknown): boolean {
  if (!isPlatformError(error)) return false
  const status = Number(error.details['httpStatus'] ?? 0)
  return (status >= 400 && status < 500) || status === 501
}

function messageOf(error: unknown): string {
  return isPlatformError(error) ? String(error.details['s3Code'] ?? error.code) : String(error)
}

function found(outcome: ProbeOutcome, detail: string): Found {
  return { outcome, detail }
}
