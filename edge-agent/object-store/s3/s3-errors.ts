import { S3ServiceException } from '@aws-sdk/client-s3'
import type { ErrorCode } from '@sendense/shared/errors/error-codes.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

/** Amazon S3 API Reference, "Error Responses", and the codes that other servers answer with in the same places. */
const codes: Readonly<Record<string, ErrorCode>> = {
  NoSuchKey: 'storage.not_found',
  NoSuchVersion: 'storage.not_found',
  NotFound: 'storage.not_found',
  NoSuchBucket: 'storage.container_missing',
  AccessDenied: 'storage.access_denied',
  AllAccessDisabled: 'storage.access_denied',
  AccountProblem: 'storage.access_denied',
  InvalidAccessKeyId: 'storage.credentials_invalid',
  SignatureDoesNotMatch: 'storage.credentials_invalid',
  InvalidToken: 'storage.credentials_invalid',
  ExpiredToken: 'storage.credentials_invalid',
  RequestTimeTooSkewed: 'storage.clock_skew',
  RequestExpired: 'storage.clock_skew',
  SlowDown: 'storage.throttled',
  Throttling: 'storage.throttled',
  ThrottlingException: 'storage.throttled',
  TooManyRequests: 'storage.throttled',
  RequestLimitExceeded: 'storage.throttled',
  RequestRateLimitExceeded: 'storage.throttled',
  BandwidthLimitExceeded: 'storage.throttled',
  RequestTimeout: 'storage.unreachable',
  IncompleteBody: 'storage.unreachable',
  InternalError: 'storage.unavailable',
  ServiceUnavailable: 'storage.unavailable',
  OperationAborted: 'storage.unavailable',
  PreconditionFailed: 'storage.unavailable',
  BadDigest: 'storage.checksum_mismatch',
  InvalidDigest: 'storage.checksum_mismatch',
  XAmzContentSHA256Mismatch: 'storage.checksum_mismatch',
  QuotaExceeded: 'storage.no_space',
  XMinioStorageFull: 'storage.no_space',
  XMinioAdminBucketQuotaExceeded: 'storage.no_space',
  InvalidObjectState: 'storage.archived',
  ObjectLocked: 'storage.immutable',
  InvalidRetentionPeriod: 'storage.retention_refused',
  NotImplemented: 'storage.unsupported',
  MethodNotAllowed: 'storage.unsupported',
}

const NETWORK_CODES =
  /^(ECONNREFUSED|ECONNRESET|ECONNABORTED|ENOTFOUND|EAI_AGAIN|EPIPE|EPROTO|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|HPE_.*)$/
const CERTIFICATE_CODES = /^(ERR_TLS|ERR_SSL|ERR_STREAM_PREMATURE_CLOSE|CERT|DEPTH|SELF|UNABLE)/

/** The code of an S3 answer, such as NoSuchKey; undefined when it was none. */
export function s3Code(error: unknown): string | undefined {
  return error instanceof S3ServiceException ? error.name : undefined
}

/** An error of the SDK or of the network as `storage.*`; what is neither, as it is. */
export function toS3Error(error: unknown, what: string): unknown {
  if (!(error instanceof Error) || error instanceof PlatformError) return error
  if (error instanceof S3ServiceException) return fromAnswer(error, what)
  const network = 'code' in error && typeof error.code === 'string' ? error.code : undefined
  const isNetwork = network !== undefined && (NETWORK_CODES.test(network) || CERTIFICATE_CODES.test(network))
  if (isNetwork || /socket hang up|^aborted$/.test(error.message)) {
    return new PlatformError('storage.unreachable', `${what}: ${error.message}`, { cause: error })
  }
  if (error.name === 'TimeoutError')
    return new PlatformError('storage.timeout', `${what}: ${error.message}`, { cause: error })
  if ('$response' in error) {
    return new PlatformError('storage.refused', `${what}: the answer cannot be understood`, { cause: error })
  }
  return error
}

function fromAnswer(error: S3ServiceException, what: string): PlatformError {
  const httpStatus = error.$metadata.httpStatusCode ?? 0
  const code = codes[error.name] ?? byStatus(httpStatus)
  const text = error.message === '' ? error.name : `${error.name}, ${error.message}`
  return new PlatformError(code, `${what}: ${text}`, { cause: error, details: { s3Code: error.name, httpStatus } })
}

function byStatus(httpStatus: number): ErrorCode {
  if (httpStatus === 429) return 'storage.throttled'
  if (httpStatus === 401) return 'storage.credentials_invalid'
  if (httpStatus === 403) return 'storage.access_denied'
  if (httpStatus === 501) return 'storage.unsupported'
  if (httpStatus >= 500 || httpStatus === 408) return 'storage.unavailable'
  return 'storage.refused'
}
