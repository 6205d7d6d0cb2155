import type { ErrorReport } from '../contracts/error-report.ts'
import { toPlatformError } from './platform-error.ts'

const MESSAGE_MAX = 4000

/** Any error as it crosses a process boundary: code, sentence, advice, details; never its cause or stack. */
export function toErrorReport(error: unknown): ErrorReport {
  const known = toPlatformError(error)
  return {
    code: known.code,
    message: known.message.slice(0, MESSAGE_MAX),
    advice: known.advice,
    // A number that JSON does not have would make the whole report unreadable.
    details: Object.fromEntries(Object.entries(known.details).filter(([, value]) => isTellable(value))),
  }
}

function isTellable(value: unknown): boolean {
  return typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)
}
