import { type S3Answer, S3Refusal } from './s3-answer.ts'
import { bucketOperations } from './s3-bucket-operations.ts'
import type { S3Bucket } from './s3-bucket.ts'
import { objectOperations } from './s3-object-operations.ts'

/** Who is played: they differ in what they refuse. */
export interface S3Flavour {
  /** `refused`: as Backblaze B2 answered x-amz-checksum-… and x-amz-sdk-checksum-algorithm for years. */
  readonly checksumHeaders: 'taken' | 'refused'
  /** `ignored`: as Ceph 16 does in buckets with versions. */
  readonly ifNoneMatch: 'honoured' | 'ignored'
}

export interface S3Request {
  readonly method: string
  readonly bucket: S3Bucket
  /** Undefined for operations on the bucket. */
  readonly key: string | undefined
  readonly query: ReadonlyMap<string, string>
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
  readonly flavour: S3Flavour
}

export interface S3Operation {
  /** The name in the Amazon S3 API Reference. */
  readonly name: string
  readonly method: string
  readonly on: 'bucket' | 'object'
  /** Parameters without which it is another operation, as `uploads`. */
  readonly needs: readonly string[]
  readonly allows?: readonly string[]
  /** Headers beyond those of every request. */
  readonly headers?: readonly string[]
  readonly run: (request: S3Request) => S3Answer
}

const COMMON_HEADERS =
  /^(host|authorization|user-agent|accept|accept-(encoding|language)|connection|content-(length|type)|expect|sec-fetch-mode|transfer-encoding|x-amz-(date|content-sha256|user-agent|security-token)|amz-sdk-(invocation-id|request))$/
const OPERATIONS: readonly S3Operation[] = [...bucketOperations, ...objectOperations]

/** Finds what is asked for and does it. What this double does not know is refused, never passed over. */
export function runOperation(request: S3Request): { readonly name: string; readonly answer: S3Answer } {
  const operation = findOperation(request)
  const parameters = [...request.query.keys()].filter((name) => name !== 'x-id')
  const allowed = new Set([...operation.needs, ...(operation.allows ?? [])])
  const unknown = parameters.find((name) => !allowed.has(name))
  if (unknown !== undefined) throw notImplemented(`${operation.name} with the parameter ${unknown}`)
  for (const name of Object.keys(request.headers)) {
    if (COMMON_HEADERS.test(name) || operation.headers?.includes(name) === true) continue
    if (name.startsWith('x-amz-checksum-') || name === 'x-amz-sdk-checksum-algorithm') {
      if (request.flavour.checksumHeaders === 'taken') continue
      throw new S3Refusal(400, 'InvalidArgument', `Unsupported header '${name}' received for this API call.`)
    }
    throw notImplemented(`${operation.name} with the header ${name}`)
  }
  return { name: operation.name, answer: operation.run(request) }
}

export function notImplemented(what: string): S3Refusal {
  return new S3Refusal(501, 'NotImplemented', `this double does not know ${what}`)
}

function findOperation({ method, key, query }: S3Request): S3Operation {
  const on = key === undefined ? 'bucket' : 'object'
  const fitting = OPERATIONS.filter(
    (operation) =>
      operation.method === method && operation.on === on && operation.needs.every((name) => query.has(name)),
  ).toSorted((left, right) => right.needs.length - left.needs.length)
  const [best] = fitting
  if (best === undefined) throw notImplemented(`${method} on ${on} with ${[...query.keys()].join('&')}`)
  return best
}
