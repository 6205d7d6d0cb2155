import { AssertionError } from 'node:assert/strict'
import type { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import type { JobLogEntry, JobResult } from '@sendense/shared/contracts/job.ts'
import assert, { InvariantError } from '@sendense/shared/domain/assert.ts'
import { canJobMove, isFinalJobState, type JobState } from '@sendense/shared/domain/job-state.ts'
import type { CatalogueTransaction } from '../catalog/catalogue.ts'
import type { InboxState } from '../catalog/command-inbox.ts'
import type { JobRecord } from '../catalog/job-store.ts'
import { toJobReport } from './job-report.ts'

export interface JobMove {
  readonly to: JobState
  readonly at: Date
  readonly result?: JobResult
  readonly error?: ErrorReport
}

/**
 * Moves a job to another state, with its report to the cloud in the same transaction; a final state is reported for
 * its command too. Does nothing, and returns undefined, where the job is gone or the move is not possible from the
 * state it is in now.
 */
export async function moveJob(tx: CatalogueTransaction, jobId: string, move: JobMove): Promise<JobRecord | undefined> {
  const job = await tx.jobs.find(jobId)
  if (job === undefined || !canJobMove(job.state, move.to)) return undefined
  const ended = isFinalJobState(move.to)
  const moved: JobRecord = {
    ...job,
    state: move.to,
    revision: job.revision + 1,
    attempt: move.to === 'running' ? job.attempt + 1 : job.attempt,
    ...(move.to === 'running' && job.startedAt === undefined ? { startedAt: move.at } : {}),
    ...(ended ? { endedAt: move.at } : {}),
    ...(move.result === undefined ? {} : { result: move.result }),
    ...(move.error === undefined ? {} : { error: move.error }),
  }
  await tx.jobs.update(moved)
  await tx.outbox.append({ type: 'job-reported', job: toJobReport(moved) }, move.at)
  if (ended && job.commandId !== undefined) await settleCommand(tx, job.commandId, move)
  return moved
}

async function settleCommand(tx: CatalogueTransaction, commandId: string, move: JobMove): Promise<void> {
  const state = finalCommandState(move.to)
  const error = move.error === undefined ? {} : { error: move.error }
  await tx.inbox.setState(commandId, state)
  await tx.outbox.append({ type: 'command-reported', commandId, state, ...error }, move.at)
}

function finalCommandState(state: JobState): Extract<InboxState, 'succeeded' | 'failed' | 'cancelled'> {
  assert(state === 'succeeded' || state === 'failed' || state === 'cancelled', `${state} is not final`)
  return state
}

/** Adds an entry to a job's log and reports it. Does nothing where the entry's sequence is there already. */
export async function logToJob(tx: CatalogueTransaction, jobId: string, entry: JobLogEntry): Promise<void> {
  const job = await tx.jobs.find(jobId)
  if (job === undefined) return
  const logged: JobRecord = { ...job, revision: job.revision + 1 }
  await tx.jobs.update(logged)
  await tx.jobs.appendLog(jobId, entry)
  await tx.outbox.append({ type: 'job-reported', job: toJobReport(logged, [entry]) }, new Date(entry.at))
}

/** A broken invariant: not the job's failure but the process's. */
export function isInvariantError(error: unknown): boolean {
  return error instanceof AssertionError || error instanceof InvariantError
}
