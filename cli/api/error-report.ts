import { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import { TRPCClientError } from '@trpc/client'
import { z } from 'zod'

const RefusedData = z.looseObject({ report: ErrorReport })

/**
 * What to tell of any error a command ended with: what the cloud said of it, or `cloud.unreachable` where it
 * said nothing.
 * @param url where the request went
 */
export function reportOf(error: unknown, url: string): ErrorReport {
  if (!(error instanceof TRPCClientError)) return toErrorReport(error)
  const said = RefusedData.safeParse(error.data)
  if (said.success) return said.data.report
  return toErrorReport(new PlatformError('cloud.unreachable', `${url} does not answer: ${reasonOf(error)}`))
}

/** The innermost message: fetch hides the system's own below "fetch failed". */
function reasonOf(error: Error): string {
  let innermost: unknown = error
  for (let depth = 0; depth < 5; depth += 1) {
    if (!(innermost instanceof Error) || innermost.cause === undefined) break
    innermost = innermost.cause
  }
  if (!(innermost instanceof Error)) return error.message
  return innermost.message === '' && 'code' in innermost ? String(innermost.code) : innermost.message
}
