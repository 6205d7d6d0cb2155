import { SYNC_JOBS_MAX, type SyncRequest } from '@sendense/shared/contracts/agent-message.ts'
import type { LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import { and, eq, gt, gte, inArray, lte, notInArray } from 'drizzle-orm'
import type { SystemTransaction } from '../db/database.ts'
import { command } from '../db/schema/fleet.ts'
import { job } from '../db/schema/protection.ts'
import type { KnownAgent } from './agent-directory.ts'
import { moveCommand } from './command-queue.ts'
import { endJob, unfinishedJobStates } from './effects/end-job.ts'

/**
 * Ends the jobs whose orders the agent holds and that it does not run: its memory was lost or set back, or the reports
 * were, and none will come. Waits until every event the agent has numbered is taken in, because one of them may be
 * the end that is looked for. A list of jobs that may have been cut off proves nothing.
 *
 * @param eventHighMark events up to here are taken in
 */
export async function endLostJobs(
  tx: SystemTransaction,
  known: KnownAgent,
  request: SyncRequest,
  { eventHighMark, now }: { readonly eventHighMark: number; readonly now: Date },
): Promise<LiveEvent[]> {
  const { jobsInFlight, lastCommandSequence } = request
  if (request.eventHighMark > eventHighMark) return []
  await beginReportsAnew(tx, known, lastCommandSequence)
  if (jobsInFlight.length >= SYNC_JOBS_MAX) return []
  const lost = await tx
    .select({ jobId: job.id })
    .from(job)
    .innerJoin(command, orderOf)
    .where(
      and(
        eq(job.agentId, known.agentId),
        inArray(job.state, unfinishedJobStates),
        lte(command.sequence, lastCommandSequence),
        notInArray(job.id, jobsInFlight),
      ),
    )
    .limit(SYNC_JOBS_MAX)
  const error = toErrorReport(
    new PlatformError('job.interrupted', 'the agent does not run this job, and its end was not reported'),
  )
  const events: LiveEvent[] = []
  for (const { jobId } of lost) {
    const ended = await endJob(tx, jobId, { state: 'failed', error, at: now })
    if (ended === undefined) continue
    if (ended.commandId !== null) await moveCommand(tx, ended.commandId, 'unknown', error)
    events.push({ type: 'job-changed', jobId, vmId: ended.vmId, state: ended.state })
  }
  return events
}

/** An agent that reported a job and does not hold its order gets the order again and counts its revisions anew. */
async function beginReportsAnew(tx: SystemTransaction, known: KnownAgent, heldSequence: number): Promise<void> {
  const again = await tx
    .select({ jobId: job.id })
    .from(job)
    .innerJoin(command, orderOf)
    .where(
      and(
        eq(job.agentId, known.agentId),
        inArray(job.state, unfinishedJobStates),
        gte(job.revision, 0),
        gt(command.sequence, heldSequence),
      ),
    )
  const jobIds = again.map((row) => row.jobId)
  if (jobIds.length > 0) await tx.update(job).set({ revision: -1 }).where(inArray(job.id, jobIds))
}

const orderOf = and(eq(command.mspId, job.mspId), eq(command.customerId, job.customerId), eq(command.id, job.commandId))
