import { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { errorCodes, isErrorCode } from '@sendense/shared/errors/error-codes.ts'
import { z } from 'zod'

const ErrorWithReport = z.object({ data: z.object({ report: ErrorReport }) })

/**
 * The report inside any error a query or mutation ended with. An error without one never came from the API:
 * it is told as a lost connection, so that the reader learns what to do either way.
 */
export function errorReportOf(error: unknown): ErrorReport {
  const parsed = ErrorWithReport.safeParse(error)
  if (parsed.success) return parsed.data.data.report
  return {
    code: 'network.unreachable',
    message: 'The control plane did not answer.',
    advice: 'Check your connection; the portal tries again by itself.',
    details: {},
  }
}

/** True where the session is missing or over, so that only logging in helps. */
export function isSessionMissing(error: unknown): boolean {
  return errorReportOf(error).code === 'identity.session_required'
}

/** True where asking again can bring another answer. Codes this build does not know are worth one more try. */
export function mayRetry(error: unknown): boolean {
  const { code } = errorReportOf(error)
  return !isErrorCode(code) || errorCodes[code].retry === 'backoff'
}
