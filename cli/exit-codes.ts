import type { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { errorCodes, isErrorCode } from '@sendense/shared/errors/error-codes.ts'

/** What scripts act on. The numbers never change their meaning. */
export const exitCodes = {
  ok: 0,
  /** The job that was waited for failed or was cancelled, or the cloud refused for a reason without a number of its own. */
  failed: 1,
  usage: 2,
  notLoggedIn: 3,
  notFound: 4,
  unreachable: 5,
  /** Something else is under way: try again later. */
  conflict: 6,
  forbidden: 7,
  interrupted: 130,
} as const

export const exitCodeHelp = `Exit codes:
  0  done; a job that was waited for succeeded
  1  the job failed or was cancelled, or the request was refused
  2  wrong use: unknown option, invalid value, ambiguous name
  3  not logged in, or wrong e-mail address or password
  4  not found: VM, restore point, job, alert
  5  the cloud cannot be reached or is not ready
  6  conflict: for example, a job of this VM is running already
  7  not permitted
  130  interrupted`

const byCode: Readonly<Record<string, number>> = {
  'input.invalid': exitCodes.usage,
  'config.invalid': exitCodes.usage,
  'identity.session_required': exitCodes.notLoggedIn,
  'identity.credentials_invalid': exitCodes.notLoggedIn,
  'cloud.unreachable': exitCodes.unreachable,
}

const byHttpStatus: Readonly<Record<number, number>> = {
  400: exitCodes.usage,
  401: exitCodes.notLoggedIn,
  403: exitCodes.forbidden,
  404: exitCodes.notFound,
  409: exitCodes.conflict,
  502: exitCodes.unreachable,
  503: exitCodes.unreachable,
  504: exitCodes.unreachable,
}

/** Exit code of a request that was refused. A code this version does not know: `failed`. */
export function exitCodeOf(report: ErrorReport): number {
  const own = byCode[report.code]
  if (own !== undefined) return own
  const status = isErrorCode(report.code) ? errorCodes[report.code].httpStatus : 500
  return byHttpStatus[status] ?? exitCodes.failed
}
