import type { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { type ErrorCode, errorCodes } from '@sendense/shared/errors/error-codes.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

/** The error that another process told of. A code that this version does not know becomes `internal.unexpected`. */
export function fromErrorReport({ code, message, details }: ErrorReport): PlatformError {
  if (isKnown(code)) return new PlatformError(code, message, { details })
  return new PlatformError('internal.unexpected', `${code}: ${message}`, { details })
}

function isKnown(code: string): code is ErrorCode {
  return Object.hasOwn(errorCodes, code)
}
