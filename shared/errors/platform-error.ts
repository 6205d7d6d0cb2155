import { errorCodes, type ErrorCode, type RetryAdvice } from './error-codes.ts'

export type ErrorDetails = Readonly<Record<string, string | number | boolean>>

export interface PlatformErrorOptions {
  readonly cause?: unknown
  /** Facts for programs: ids, offsets, sizes. Never secrets. */
  readonly details?: ErrorDetails
}

/**
 * The only error type that crosses a module boundary. Code acts on `code`, never on `message`.
 * Drivers translate vendor errors at their edge and keep the original in `cause`.
 * A failed invariant is not a PlatformError: it is an assertion, and it stops the process.
 */
export class PlatformError extends Error {
  override readonly name = 'PlatformError'
  readonly code: ErrorCode
  readonly details: ErrorDetails

  /** @param message one sentence that names the thing it happened to */
  constructor(code: ErrorCode, message: string, options: PlatformErrorOptions = {}) {
    super(message, { cause: options.cause })
    this.code = code
    this.details = options.details ?? {}
  }

  get retry(): RetryAdvice {
    return errorCodes[this.code].retry
  }

  /** What the person who sees it can do now. */
  get advice(): string {
    return errorCodes[this.code].advice
  }
}

export function isPlatformError(error: unknown, code?: ErrorCode): error is PlatformError {
  return error instanceof PlatformError && (code === undefined || error.code === code)
}

/** The error itself, or `internal.unexpected` around anything that nobody translated. Abort reasons pass unchanged. */
export function toPlatformError(error: unknown): PlatformError {
  if (error instanceof PlatformError) return error
  const text = error instanceof Error ? error.message : String(error)
  return new PlatformError('internal.unexpected', `unexpected error: ${text}`, { cause: error })
}
