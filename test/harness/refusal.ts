import { reportOf } from '@sendense/cli/api/error-report.ts'
import type { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

/** What the cloud said when it refused; rejects when it did not refuse. */
export async function refusalOf(request: Promise<unknown>): Promise<ErrorReport> {
  try {
    await request
  } catch (error) {
    return reportOf(error, 'the cloud')
  }
  throw new PlatformError('internal.unexpected', 'the cloud did what it should have refused')
}
