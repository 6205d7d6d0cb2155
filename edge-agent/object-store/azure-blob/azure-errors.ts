import { RestError } from '@azure/storage-blob'
import type { ErrorCode } from '@sendense/shared/errors/error-codes.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

/** Azure Storage REST API, "Blob Storage error codes" and "Common REST API error codes". */
const codes: Readonly<Record<string, ErrorCode>> = {
  BlobNotFound: 'storage.not_found',
  ContainerNotFound: 'storage.container_missing',
  ContainerBeingDeleted: 'storage.container_missing',
  AuthenticationFailed: 'storage.credentials_invalid',
  InvalidAuthenticationInfo: 'storage.credentials_invalid',
  NoAuthenticationInformation: 'storage.credentials_invalid',
  AuthorizationFailure: 'storage.access_denied',
  AuthorizationPermissionMismatch: 'storage.access_denied',
  AuthorizationServiceMismatch: 'storage.access_denied',
  AuthorizationResourceTypeMismatch: 'storage.access_denied',
  AuthorizationProtocolMismatch: 'storage.access_denied',
  AuthorizationSourceIPMismatch: 'storage.access_denied',
  InsufficientAccountPermissions: 'storage.access_denied',
  AccountIsDisabled: 'storage.access_denied',
  ServerBusy: 'storage.throttled',
  IngressIsOverAccountLimit: 'storage.throttled',
  EgressIsOverAccountLimit: 'storage.throttled',
  OperationTimedOut: 'storage.unavailable',
  InternalError: 'storage.unavailable',
  ConditionNotMet: 'storage.unavailable',
  Md5Mismatch: 'storage.checksum_mismatch',
  Crc64Mismatch: 'storage.checksum_mismatch',
  InvalidMd5: 'storage.checksum_mismatch',
  BlobArchived: 'storage.archived',
  BlobBeingRehydrated: 'storage.archived',
  BlobImmutableDueToPolicy: 'storage.immutable',
  BlobImmutableDueToLegalHold: 'storage.immutable',
  FeatureVersionMismatch: 'storage.unsupported',
  APINotImplemented: 'storage.unsupported',
  UnsupportedHeader: 'storage.unsupported',
  BlobOperationNotSupported: 'storage.unsupported',
}
/** "Authorize with Shared Key": a request may be 15 minutes old. */
const SKEW_MAX_MS = 15 * 60 * 1000

/** Azure's code of an answer, such as BlobNotFound; undefined when it was none. An answer to HEAD has it in a header. */
export function azureCode(error: unknown): string | undefined {
  if (!(error instanceof RestError) || error.response === undefined) return undefined
  const header = error.response.headers.get('x-ms-error-code')
  return header ?? error.code
}

/** An error of the SDK or of the network as `storage.*`; what is neither, as it is. */
export function toAzureError(error: unknown, what: string): unknown {
  if (!(error instanceof RestError)) return isBrokenStream(error) ? unreachable(error, what) : error
  const { response } = error
  if (response === undefined) return unreachable(error, what)
  const found = azureCode(error) ?? ''
  const httpStatus = response.status
  const details = { azureCode: found, httpStatus }
  const text = `${what}: ${found === '' ? `HTTP ${httpStatus}` : found}, ${error.message.split('\n', 1)[0]}`
  const isSkew = found === 'AuthenticationFailed' && isFarFromNow(response.headers.get('date'))
  const code = isSkew ? 'storage.clock_skew' : (codes[found] ?? byStatus(httpStatus))
  return new PlatformError(code, text, { cause: error, details })
}

/** A connection that ends while a body comes. */
function isBrokenStream(error: unknown): error is Error {
  if (!(error instanceof Error) || error instanceof PlatformError) return false
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  return /^(ECONNRESET|EPIPE|ETIMEDOUT|ERR_STREAM_PREMATURE_CLOSE)$/.test(code) || error.message === 'aborted'
}

function isFarFromNow(date: string | undefined): boolean {
  return date !== undefined && Math.abs(Date.parse(date) - Date.now()) > SKEW_MAX_MS
}

function unreachable(error: Error, what: string): PlatformError {
  return new PlatformError('storage.unreachable', `${what}: ${error.message}`, { cause: error })
}

function byStatus(httpStatus: number): ErrorCode {
  if (httpStatus === 429) return 'storage.throttled'
  if (httpStatus === 401) return 'storage.credentials_invalid'
  if (httpStatus === 403) return 'storage.access_denied'
  if (httpStatus === 404) return 'storage.not_found'
  if (httpStatus === 501) return 'storage.unsupported'
  if (httpStatus >= 500 || httpStatus === 408) return 'storage.unavailable'
  return 'storage.refused'
}
