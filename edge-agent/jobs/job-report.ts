import type { JobLogEntry, JobReport } from '@sendense/shared/contracts/job.ts'
import type { JobRecord } from '../catalog/job-store.ts'

/** What the cloud hears of a job: its whole state, and the entries since the last report. */
export function toJobReport(job: JobRecord, log: readonly JobLogEntry[] = []): JobReport {
  return {
    jobId: job.jobId,
    kind: job.kind,
    state: job.state,
    revision: job.revision,
    vmId: job.vmId,
    ...(job.commandId === undefined ? {} : { commandId: job.commandId }),
    queuedAt: job.queuedAt.toISOString(),
    ...(job.startedAt === undefined ? {} : { startedAt: job.startedAt.toISOString() }),
    ...(job.endedAt === undefined ? {} : { endedAt: job.endedAt.toISOString() }),
    attempt: job.attempt,
    ...(job.result === undefined ? {} : { result: job.result }),
    ...(job.error === undefined ? {} : { error: job.error }),
    log: [...log],
  }
}
