import { createHash, randomUUID } from 'node:crypto'
import type { BlobImmutabilityPolicy } from '@azure/storage-blob'
import { bodyPieces, bodySizeBytes, wholeBody } from '../object-body.ts'
import type { ObjectBody, PutOptions, Retention } from '../object-store.ts'
import { runParallel } from '../run-parallel.ts'
import type { AzureSession } from './azure-session.ts'

const BLOCKS_MAX = 50_000
const BLOCKS_AT_ONCE = 4

export type AzurePut = PutOptions & { readonly retention?: Retention | undefined }

/** Resolves with the id of the version that it made, where versions are kept. Nothing is there before the last request. */
export async function uploadBlob(
  session: AzureSession,
  key: string,
  body: ObjectBody,
  put: AzurePut,
): Promise<string | undefined> {
  if (bodySizeBytes(body) <= session.config.singlePutMaxBytes) return await putWhole(session, key, body, put)
  return await putBlocks(session, key, body, put)
}

async function putWhole(session: AzureSession, key: string, body: ObjectBody, put: AzurePut) {
  const { signal, sha256, retention } = put
  const bytes = await wholeBody(body, { signal, sha256 })
  const facts = { signal, what: `putting object ${key}`, bytes: bytes.length }
  return await session.request(facts, async ({ abortSignal }) => {
    // "Put Blob", x-ms-blob-content-md5: the service checks what arrives against it.
    const blobContentMD5 = createHash('md5').update(bytes).digest()
    const options = { abortSignal, blobHTTPHeaders: { blobContentMD5 }, ...immutability(retention) }
    const answer = await session
      .blockBlob(key)
      .upload(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), bytes.length, options)
    return answer.versionId
  })
}

/** Blocks that are never committed are dropped by the service after a week ("Put Block", remarks). */
async function putBlocks(session: AzureSession, key: string, body: ObjectBody, put: AzurePut) {
  const { signal, sha256, retention } = put
  const what = `putting object ${key}`
  const pieceBytes = Math.max(session.config.blockSizeBytes, Math.ceil(bodySizeBytes(body) / BLOCKS_MAX))
  const blob = session.blockBlob(key)
  const ids: string[] = []
  // Another upload of the same key must not use blocks of this one.
  const upload = randomUUID()
  const pieces = bodyPieces(body, { pieceBytes, ownPieces: true, sha256, signal })
  await runParallel(numbered(pieces), { concurrency: BLOCKS_AT_ONCE, signal }, async ({ index, piece }, call) => {
    const id = Buffer.from(`${upload}-${String(index).padStart(6, '0')}`).toString('base64')
    ids[index] = id
    const facts = { ...call, what: `${what}, block ${index}`, bytes: piece.length }
    await session.request(facts, async ({ abortSignal }) => {
      const transactionalContentMD5 = createHash('md5').update(piece).digest()
      const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.length)
      await blob.stageBlock(id, bytes, piece.length, { abortSignal, transactionalContentMD5 })
    })
  })
  return await session.request({ signal, what }, async ({ abortSignal }) => {
    const answer = await blob.commitBlockList(ids, { abortSignal, ...immutability(retention) })
    return answer.versionId
  })
}

/** The policy of a retention: locked is what nobody can lift. */
export function toPolicy({ mode, retainUntil }: Retention): BlobImmutabilityPolicy {
  return { expiriesOn: retainUntil, policyMode: mode === 'compliance' ? 'Locked' : 'Unlocked' }
}

function immutability(retention: Retention | undefined): { immutabilityPolicy?: BlobImmutabilityPolicy } {
  return retention === undefined ? {} : { immutabilityPolicy: toPolicy(retention) }
}

async function* numbered(pieces: AsyncIterable<Uint8Array>) {
  let index = 0
  for await (const piece of pieces) {
    yield { index, piece }
    index += 1
  }
}
