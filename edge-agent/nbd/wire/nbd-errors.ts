import type { Extent } from '@sendense/shared/domain/extent.ts'
import type { ErrorCode } from '@sendense/shared/errors/error-codes.ts'
import { isPlatformError, PlatformError, type ErrorDetails } from '@sendense/shared/errors/platform-error.ts'
import {
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOMEM,
  NBD_ENOSPC,
  NBD_ENOTSUP,
  NBD_EOVERFLOW,
  NBD_EPERM,
  NBD_ESHUTDOWN,
} from './nbd-constants.ts'

const errorNames: Readonly<Record<number, string>> = {
  [NBD_EPERM]: 'EPERM',
  [NBD_EIO]: 'EIO',
  [NBD_ENOMEM]: 'ENOMEM',
  [NBD_EINVAL]: 'EINVAL',
  [NBD_ENOSPC]: 'ENOSPC',
  [NBD_EOVERFLOW]: 'EOVERFLOW',
  [NBD_ENOTSUP]: 'ENOTSUP',
  [NBD_ESHUTDOWN]: 'ESHUTDOWN',
}
const errorCodesByNumber: Readonly<Record<number, ErrorCode>> = {
  [NBD_EPERM]: 'nbd.read_only',
  [NBD_ENOSPC]: 'nbd.no_space',
  [NBD_ENOTSUP]: 'nbd.unsupported',
  [NBD_ESHUTDOWN]: 'nbd.disconnected',
}

/** Something arrived that the protocol forbids: the connection is of no more use. */
export function protocolViolation(message: string, details: ErrorDetails = {}): PlatformError {
  return new PlatformError('nbd.protocol_violation', `NBD server broke the protocol: ${message}`, { details })
}

/** The same of a client: what it sent cannot be answered, or not in order. */
export function clientViolation(message: string, details: ErrorDetails = {}): PlatformError {
  return new PlatformError('nbd.protocol_violation', `NBD client broke the protocol: ${message}`, { details })
}

/**
 * The error a reply carries as a PlatformError with `details.offsetBytes`, `details.lengthBytes` and `details.nbdError`.
 * @param range what was asked for, from the failed byte on where the server names it
 * @param text what the server said of it; may be empty
 */
export function replyError(errorNumber: number, what: string, range: Extent, text: string): PlatformError {
  const { offsetBytes, lengthBytes } = range
  const name = errorNames[errorNumber] ?? `error ${errorNumber}`
  const message = `NBD ${what} at byte ${offsetBytes} failed: ${name}${text === '' ? '' : `, ${text}`}`
  const details = { offsetBytes, lengthBytes, nbdError: name }
  return new PlatformError(errorCodesByNumber[errorNumber] ?? 'nbd.io_failed', message, { details })
}

/** The server did answer, and with a no. */
const MEDIUM_ERRORS: ReadonlySet<ErrorCode> = new Set([
  'nbd.io_failed',
  'nbd.no_space',
  'nbd.read_only',
  'nbd.unsupported',
])

/** What a failed request means for who reads a disk: a medium error is the source's. */
export function toSourceError(error: unknown): unknown {
  if (!isPlatformError(error)) return error
  return MEDIUM_ERRORS.has(error.code) ? renamed(error, 'source.read_failed') : error
}

/** What a failed request means for who writes a disk. */
export function toSinkError(error: unknown): unknown {
  if (isPlatformError(error, 'nbd.no_space')) return renamed(error, 'target.no_space')
  if (isPlatformError(error, 'nbd.io_failed') || isPlatformError(error, 'nbd.unsupported')) {
    return renamed(error, 'target.write_failed')
  }
  return error
}

function renamed(error: PlatformError, code: ErrorCode): PlatformError {
  return new PlatformError(code, error.message, { cause: error, details: error.details })
}
