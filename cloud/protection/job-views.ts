import { type JobDetailView, type JobView, PAGE_SIZE_MAX } from '@sendense/shared/contracts/api/protection-api.ts'
import { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { JobLogEntry, JobResult } from '@sendense/shared/contracts/job.ts'
import type { CommandState } from '@sendense/shared/domain/command-state.ts'
import { isFinalJobState, type JobState } from '@sendense/shared/domain/job-state.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { and, asc, desc, eq, gt, inArray, lt, type SQL } from 'drizzle-orm'
import type { TenantTransaction } from '../db/database.ts'
import { agent, command } from '../db/schema/fleet.ts'
import { job, jobLog } from '../db/schema/protection.ts'
import { site } from '../db/schema/tenancy.ts'
import type { ProgressBoard } from '../live/progress-board.ts'

const LOG_ENTRIES_MAX = 2000

/**
 * Jobs of the tenant, newest first. A page ends between two instants, never inside one, so that its last time leads on
 * to the next page: it is longer than its limit where several were ordered at the same moment.
 */
export async function listJobs(
  tx: TenantTransaction,
  progress: ProgressBoard,
  filter: {
    vmId?: string | undefined
    state?: JobState[] | undefined
    before?: string | undefined
    limit?: number | undefined
  },
): Promise<JobView[]> {
  const wanted = and(
    filter.vmId === undefined ? undefined : eq(job.vmId, filter.vmId),
    filter.state === undefined ? undefined : inArray(job.state, filter.state),
  )
  const older = filter.before === undefined ? undefined : lt(job.queuedAt, new Date(filter.before))
  const limit = filter.limit ?? PAGE_SIZE_MAX
  const rows = await selectJobs(tx, and(wanted, older), limit)
  const last = rows.at(-1)
  if (last !== undefined && rows.length === limit) {
    const isTie = and(eq(job.queuedAt, last.job.queuedAt), gt(job.id, last.job.id))
    rows.push(...(await selectJobs(tx, and(wanted, isTie), PAGE_SIZE_MAX)))
  }
  return rows.map((row) => toJobView(row, progress))
}

/** Rejects with `job.not_found`. */
export async function getJob(tx: TenantTransaction, progress: ProgressBoard, jobId: string): Promise<JobView> {
  const [row] = await selectJobs(tx, eq(job.id, jobId), 1)
  if (row === undefined) throw new PlatformError('job.not_found', `job ${jobId} is not there`)
  return toJobView(row, progress)
}

/** The job with its log, oldest entry first. Rejects with `job.not_found`. */
export async function getJobDetail(
  tx: TenantTransaction,
  progress: ProgressBoard,
  jobId: string,
): Promise<JobDetailView> {
  const view = await getJob(tx, progress, jobId)
  const entries = await tx
    .select()
    .from(jobLog)
    .where(eq(jobLog.jobId, jobId))
    .orderBy(desc(jobLog.sequence))
    .limit(LOG_ENTRIES_MAX)
  const log = entries
    .toReversed()
    .map(({ sequence, at, level, step, sentence }) =>
      JobLogEntry.parse({ sequence, at: at.toISOString(), level, step, sentence }),
    )
  return { ...view, log }
}

function selectJobs(tx: TenantTransaction, condition: SQL | undefined, limit: number) {
  return tx
    .select({ job, commandState: command.state, siteName: site.name })
    .from(job)
    .innerJoin(agent, and(eq(agent.mspId, job.mspId), eq(agent.customerId, job.customerId), eq(agent.id, job.agentId)))
    .innerJoin(site, and(eq(site.mspId, agent.mspId), eq(site.customerId, agent.customerId), eq(site.id, agent.siteId)))
    .leftJoin(
      command,
      and(eq(command.mspId, job.mspId), eq(command.customerId, job.customerId), eq(command.id, job.commandId)),
    )
    .where(condition)
    .orderBy(desc(job.queuedAt), asc(job.id))
    .limit(limit)
}

type JobRow = Awaited<ReturnType<typeof selectJobs>>[number]

function toJobView(row: JobRow, progress: ProgressBoard): JobView {
  const { job: found } = row
  return {
    jobId: found.id,
    kind: found.kind,
    state: found.state,
    commandState: row.commandState ?? commandStateWithoutCommand[found.state],
    vmId: found.vmId,
    vmName: found.vmName,
    agentId: found.agentId,
    siteName: row.siteName,
    repositoryId: found.repositoryId,
    restorePointId: found.restorePointId,
    requestedBy: found.requestedBy,
    queuedAt: found.queuedAt.toISOString(),
    startedAt: found.startedAt?.toISOString() ?? null,
    endedAt: found.endedAt?.toISOString() ?? null,
    progress: isFinalJobState(found.state) ? null : (progress.get(found.id) ?? null),
    result: found.result === null ? null : JobResult.parse(found.result),
    error: found.error === null ? null : ErrorReport.parse(found.error),
  }
}

/** Jobs that the agent started by itself have no order: it is as far as they are. */
const commandStateWithoutCommand: { readonly [S in JobState]: CommandState } = {
  queued: 'accepted',
  running: 'running',
  cancelling: 'running',
  succeeded: 'succeeded',
  failed: 'failed',
  cancelled: 'cancelled',
}
