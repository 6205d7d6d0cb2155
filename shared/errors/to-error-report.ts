import { ERROR_DETAIL_LENGTH_MAX, ERROR_DETAILS_MAX, type ErrorReport } from '../contracts/error-report.ts'
import { type ErrorDetails, toPlatformError } from './platform-error.ts'

const MESSAGE_MAX = 4000

/** Any error as it crosses a process boundary: code, sentence, advice, details; never its cause or stack. */
export function toErrorReport(error: unknown): ErrorReport {
  const known = toPlatformError(error)
  return {
    code: known.code,
    message: known.message.slice(0, MESSAGE_MAX),
    advice: known.advice,
    details: tellable(known.details),
  }
}

function tellable(details: ErrorDetails): ErrorReport['details'] {
  // A number that JSON does not have would make the whole report unreadable.
  const entries = Object.entries(details).filter(([, value]) => isTellable(value))
  return Object.fromEntries(
    entries
      .slice(0, ERROR_DETAILS_MAX)
      .map(([name, value]) => [name, typeof value === 'string' ? value.slice(0, ERROR_DETAIL_LENGTH_MAX) : value]),
  )
}

function isTellable(value: unknown): boolean {
  return typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)
}
