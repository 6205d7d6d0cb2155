import { z } from 'zod'
import { jobStates } from '../domain/job-state.ts'
import { ErrorReport } from './error-report.ts'
import { ByteCount, Instant } from './identifiers.ts'

export const jobKinds = ['backup', 'restore', 'verify'] as const
export const JobKind = z.enum(jobKinds)
export type JobKind = z.infer<typeof JobKind>

/** Where a running job is. Lossy and coalesced: only the newest matters. */
export const JobProgress = z.strictObject({
  jobId: z.uuid(),
  /** Machine name of the step: `prepare`, `freeze`, `copy`, `seal`, `boot`. */
  phase: z.string().max(32),
  /** What happens now, one sentence. */
  sentence: z.string().max(500),
  doneBytes: ByteCount,
  /** 0 while it is not known. */
  totalBytes: ByteCount,
  bytesPerSecond: ByteCount,
  at: Instant,
})
export type JobProgress = z.infer<typeof JobProgress>

export const JobLogEntry = z.strictObject({
  sequence: z.int().nonnegative(),
  at: Instant,
  level: z.enum(['info', 'warning', 'error']),
  step: z.string().max(64),
  sentence: z.string().max(1000),
})
export type JobLogEntry = z.infer<typeof JobLogEntry>

/** What a job brought, by its kind. */
export const JobResult = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('backup'), restorePointId: z.uuid(), readBytes: ByteCount, storedBytes: ByteCount }),
  z.strictObject({
    kind: z.literal('restore'),
    /** Agent's id of the new VM. */
    vmId: z.uuid(),
    vmName: z.string().max(255),
    writtenBytes: ByteCount,
    /** How it was seen that the machine came up; absent when it was not started. */
    bootProof: z
      .strictObject({
        by: z.enum(['guest-agent', 'console']),
        /** What the guest said of itself, for people. */
        evidence: z.string().max(2000),
        secondsToUp: z.number().nonnegative(),
      })
      .optional(),
  }),
  z.strictObject({
    kind: z.literal('verify'),
    restorePointId: z.uuid(),
    checkedBytes: ByteCount,
    summary: z.string().max(2000),
  }),
])
export type JobResult = z.infer<typeof JobResult>

/** The whole state of a job; each report replaces the one before it (`revision` grows). */
export const JobReport = z.strictObject({
  jobId: z.uuid(),
  kind: JobKind,
  state: z.enum(jobStates),
  revision: z.int().nonnegative(),
  vmId: z.uuid(),
  commandId: z.uuid().optional(),
  queuedAt: Instant,
  startedAt: Instant.optional(),
  endedAt: Instant.optional(),
  attempt: z.int().nonnegative(),
  result: JobResult.optional(),
  error: ErrorReport.optional(),
  /** New entries since the last report of this job. */
  log: z.array(JobLogEntry).max(200).default([]),
})
export type JobReport = z.infer<typeof JobReport>
