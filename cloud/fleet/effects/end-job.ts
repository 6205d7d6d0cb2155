import type { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { and, eq, inArray } from 'drizzle-orm'
import type { SystemTransaction } from '../../db/database.ts'
import { job } from '../../db/schema/protection.ts'

export const unfinishedJobStates = ['queued', 'running', 'cancelling'] as const

export interface EndedJob {
  readonly jobId: string
  readonly vmId: string
  readonly commandId: string | null
  readonly state: 'failed' | 'cancelled'
}

/** Ends a job that its agent will not end; a late report still counts. Returns undefined where it has ended already. */
export async function endJob(
  tx: SystemTransaction,
  jobId: string,
  end: { readonly state: EndedJob['state']; readonly error: ErrorReport | undefined; readonly at: Date },
): Promise<EndedJob | undefined> {
  const { state, error, at } = end
  const [ended] = await tx
    .update(job)
    .set({ state, endedByCloud: true, endedAt: at, error: error ?? null })
    .where(and(eq(job.id, jobId), inArray(job.state, unfinishedJobStates)))
    .returning({ jobId: job.id, vmId: job.vmId, commandId: job.commandId })
  return ended === undefined ? undefined : { ...ended, state }
}
