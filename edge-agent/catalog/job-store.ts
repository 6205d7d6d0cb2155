import { BackupVm, RestoreVm, VerifyRestorePoint } from '@sendense/shared/contracts/agent-command.ts'
import type { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import type { JobKind, JobLogEntry, JobResult } from '@sendense/shared/contracts/job.ts'
import type { JobState } from '@sendense/shared/domain/job-state.ts'
import { z } from 'zod'

/** What a job was asked to do, as the command said it. */
export const JobArguments = z.discriminatedUnion('type', [BackupVm, RestoreVm, VerifyRestorePoint])
export type JobArguments = z.infer<typeof JobArguments>

export interface JobRecord {
  readonly jobId: string
  readonly kind: JobKind
  /** The VM protected; for restore and verify the one the restore point is of. */
  readonly vmId: string
  readonly commandId?: string
  readonly arguments: JobArguments
  readonly state: JobState
  /** Grows by one with every change and log entry. */
  readonly revision: number
  /** Runs begun so far. */
  readonly attempt: number
  readonly queuedAt: Date
  readonly startedAt?: Date
  readonly endedAt?: Date
  readonly result?: JobResult
  readonly error?: ErrorReport
}

export interface JobFilter {
  readonly states?: readonly JobState[]
  readonly vmId?: string
  readonly kind?: JobKind
  /** Oldest first unless true. */
  readonly newestFirst?: boolean
  readonly limit: number
}

export interface JobStore {
  /** Locks the row until the transaction ends. */
  find(jobId: string): Promise<JobRecord | undefined>
  /** Does nothing where the id exists. */
  insert(record: JobRecord): Promise<void>
  /** Replaces the row of the same id. */
  update(record: JobRecord): Promise<void>
  /** By `queuedAt`, then id. */
  list(filter: JobFilter): Promise<JobRecord[]>
  /** Does nothing where job and sequence exist. */
  appendLog(jobId: string, entry: JobLogEntry): Promise<void>
  /** In order of sequence. */
  listLog(jobId: string): Promise<JobLogEntry[]>
}
