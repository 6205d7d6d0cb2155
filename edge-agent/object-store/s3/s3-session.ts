import { createHash } from 'node:crypto'
import { rootCertificates } from 'node:tls'
import { S3Client, type S3ClientConfig, type ServiceInputTypes, type ServiceOutputTypes } from '@aws-sdk/client-s3'
import type { FinalizeRequestMiddleware } from '@smithy/types'
import type { CallOptions } from '../object-store.ts'
import { type RequestOptions, withRequestDeadline } from '../request-deadline.ts'
import type { S3StoreConfig } from './s3-config.ts'
import { toS3Error } from './s3-errors.ts'

const CONNECT_TIMEOUT_MS = 15_000

/** Requests to one bucket: each with a deadline, each error translated. No retries: a layer does that. */
export class S3Session implements Disposable {
  readonly client: S3Client
  readonly config: S3StoreConfig
  readonly description: string
  /** What stands in front of every key. */
  readonly prefix: string

  constructor(config: S3StoreConfig) {
    this.config = config
    this.prefix = config.prefix ?? ''
    const host = config.endpoint === undefined ? `Amazon S3, ${config.region}` : new URL(config.endpoint).host
    this.description = `bucket ${config.bucket} at ${host}`
    this.client = new S3Client(clientConfig(config))
    const place = { relation: 'before', toMiddleware: 'httpSigningMiddleware', name: 'useContentMd5' } as const
    this.client.middlewareStack.addRelativeTo(useContentMd5, place)
  }

  /** The key as the bucket has it. */
  path(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.config.bucket, Key: this.prefix + key }
  }

  /** @param work sends with the signal that it is given, and reads the answer's body to its end */
  async request<T>(
    facts: CallOptions & { readonly what: string; readonly bytes?: number },
    work: (options: RequestOptions) => Promise<T>,
  ): Promise<T> {
    const what = `${facts.what} in ${this.description}`
    const timeoutMs = this.config.requestTimeoutMs
    return await withRequestDeadline({ ...facts, what, timeoutMs, translate: toS3Error }, work)
  }

  [Symbol.dispose](): void {
    this.client.destroy()
  }
}

function clientConfig(config: S3StoreConfig): S3ClientConfig {
  const agent = { keepAlive: true, maxSockets: config.connectionsMax }
  const own = config.certificateAuthorities
  const trust = own === undefined ? {} : { ca: [...rootCertificates, own] }
  const { accessKeyId, secretAccessKey, sessionToken } = config.credentials
  return {
    region: config.region,
    ...(config.endpoint === undefined ? {} : { endpoint: config.endpoint }),
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) },
    forcePathStyle: config.pathStyle ?? config.endpoint !== undefined,
    maxAttempts: 1,
    // For requests with it the SDK opens a connection of their own each, which knows nothing of our agents.
    expectContinueHeader: false,
    // The SDK's own default is CRC32 in a trailer, which Backblaze B2, older MinIO and Ceph and others refuse.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS, httpAgent: agent, httpsAgent: { ...agent, ...trust } },
    // It is for people who look into a log of the SDK, which nobody here does.
    logger: { debug: ignore, info: ignore, warn: ignore, error: ignore, trace: ignore },
  }
}

/**
 * Where a checksum of the request is demanded (DeleteObjects, PutObjectRetention, PutObjectLegalHold) the SDK sends CRC32,
 * which some servers refuse or do not count. Content-MD5 is taken by all, Amazon included.
 */
const useContentMd5: FinalizeRequestMiddleware<ServiceInputTypes, ServiceOutputTypes> =
  (next, context) => async (call) => {
    const { request } = call
    // In a put of its own accord it is whoever asks for a checksum.
    if (isRequest(request) && context.commandName !== 'PutObjectCommand') {
      const names = Object.keys(request.headers).filter((name) => /^x-amz-(checksum-|sdk-checksum-)/i.test(name))
      for (const name of names) delete request.headers[name]
      if (names.length > 0 && (typeof request.body === 'string' || request.body instanceof Uint8Array)) {
        request.headers['content-md5'] = createHash('md5').update(request.body).digest('base64')
      }
    }
    return await next(call)
  }

function isRequest(request: unknown): request is { readonly headers: Record<string, string>; readonly body?: unknown } {
  return typeof request === 'object' && request !== null && 'headers' in request
}

function ignore(): void {}
