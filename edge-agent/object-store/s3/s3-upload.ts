import { createHash } from 'node:crypto'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { bodyPieces, bodySizeBytes, wholeBody } from '../object-body.ts'
import type { ObjectBody, PutOptions, Retention } from '../object-store.ts'
import { runParallel } from '../run-parallel.ts'
import type { S3Session } from './s3-session.ts'

const PARTS_MAX = 10_000
const PARTS_AT_ONCE = 4
const ABORT_TIMEOUT_MS = 30_000

export interface S3Put extends PutOptions {
  readonly retention?: Retention | undefined
  /** Amazon S3 demands it on buckets with Object Lock ("PutObject", Content-MD5); everybody takes it. */
  readonly contentMd5: boolean
}

/** One request, or many for a large body; nothing is there before the last one. */
export async function uploadObject(
  session: S3Session,
  key: string,
  body: ObjectBody,
  put: S3Put,
): Promise<'whole' | 'in parts'> {
  if (bodySizeBytes(body) > session.config.singlePutMaxBytes) {
    await putParts(session, key, body, put)
    return 'in parts'
  }
  await putWhole(session, key, body, put)
  return 'whole'
}

async function putWhole(session: S3Session, key: string, body: ObjectBody, put: S3Put): Promise<void> {
  const { signal, sha256 } = put
  // The server hashes what arrives: what it should hash to is the signed x-amz-content-sha256. Ceph 16 does not look at
  // an empty body.
  const isChecked = body instanceof Uint8Array && body.length > 0
  const bytes = isChecked ? body : await wholeBody(body, { signal, sha256 })
  const command = new PutObjectCommand({
    ...session.path(key),
    Body: bytes,
    ContentLength: bytes.length,
    ...objectHeaders(session, put),
    ...md5Header(put, bytes),
  })
  if (sha256 !== undefined) signWith(command, sha256)
  await session.request({ signal, what: `putting object ${key}`, bytes: bytes.length }, async (options) => {
    await session.client.send(command, options)
  })
}

async function putParts(session: S3Session, key: string, body: ObjectBody, put: S3Put): Promise<void> {
  const { signal, sha256 } = put
  const what = `putting object ${key}`
  const created = await session.request({ signal, what }, async (options) => {
    const command = new CreateMultipartUploadCommand({ ...session.path(key), ...objectHeaders(session, put) })
    return await session.client.send(command, options)
  })
  const UploadId = created.UploadId
  if (UploadId === undefined) throw new PlatformError('storage.refused', `${what}: the upload has no id`)
  try {
    const pieceBytes = Math.max(session.config.partSizeBytes, Math.ceil(bodySizeBytes(body) / PARTS_MAX))
    const parts: { PartNumber: number; ETag: string }[] = []
    const pieces = bodyPieces(body, { pieceBytes, ownPieces: true, sha256, signal })
    await runParallel(numbered(pieces), { concurrency: PARTS_AT_ONCE, signal }, async ({ PartNumber, piece }, call) => {
      const command = new UploadPartCommand({
        ...session.path(key),
        UploadId,
        PartNumber,
        Body: piece,
        ContentLength: piece.length,
        ...md5Header(put, piece),
      })
      const facts = { ...call, what: `${what}, part ${PartNumber}`, bytes: piece.length }
      const { ETag } = await session.request(facts, async (options) => await session.client.send(command, options))
      if (ETag === undefined) throw new PlatformError('storage.refused', `${facts.what}: the part has no ETag`)
      parts.push({ PartNumber, ETag })
    })
    parts.sort((left, right) => left.PartNumber - right.PartNumber)
    const command = new CompleteMultipartUploadCommand({
      ...session.path(key),
      UploadId,
      MultipartUpload: { Parts: parts },
    })
    // The server copies the parts together before it answers.
    await session.request({ signal, what, bytes: bodySizeBytes(body) }, async (options) => {
      await session.client.send(command, options)
    })
  } catch (error) {
    await abandonUpload(session, key, UploadId)
    throw error
  }
}

/** Frees the parts. When it cannot, the bucket's lifecycle rule for unfinished uploads does it later. */
async function abandonUpload(session: S3Session, key: string, UploadId: string): Promise<void> {
  const command = new AbortMultipartUploadCommand({ ...session.path(key), UploadId })
  try {
    await session.client.send(command, { abortSignal: AbortSignal.timeout(ABORT_TIMEOUT_MS) })
  } catch {
    // The error that led here says more.
  }
}

async function* numbered(pieces: AsyncIterable<Uint8Array>) {
  let PartNumber = 0
  for await (const piece of pieces) {
    PartNumber += 1
    yield { PartNumber, piece }
  }
}

function objectHeaders({ config }: S3Session, { retention }: S3Put): Partial<PutObjectCommandInput> {
  const storageClass = config.storageClass === undefined ? {} : { StorageClass: config.storageClass as never }
  if (retention === undefined) return storageClass
  const ObjectLockMode = retention.mode === 'compliance' ? 'COMPLIANCE' : 'GOVERNANCE'
  return { ...storageClass, ObjectLockMode, ObjectLockRetainUntilDate: retention.retainUntil }
}

function md5Header({ contentMd5 }: S3Put, bytes: Uint8Array): { ContentMD5?: string } {
  return contentMd5 ? { ContentMD5: createHash('md5').update(bytes).digest('base64') } : {}
}

function signWith(command: PutObjectCommand, sha256: string): void {
  command.middlewareStack.add(
    (next) => async (call) => {
      const { request } = call
      if (typeof request === 'object' && request !== null && 'headers' in request) {
        Object.assign(request.headers as Record<string, string>, { 'x-amz-content-sha256': sha256 })
      }
      return await next(call)
    },
    { step: 'build', name: 'signWithGivenHash' },
  )
}
