import type { JobKind, JobLogEntry, JobProgress, JobResult } from '@sendense/shared/contracts/job.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { JobArguments, JobRecord } from '../catalog/job-store.ts'

/** Where progress goes; lossy, only the newest of a job matters. */
export interface ProgressSink {
  report(progress: JobProgress): void
}

export type ProgressFacts = Pick<JobProgress, 'phase' | 'sentence' | 'doneBytes' | 'totalBytes'>

/** One run of one job, as its runner sees it. */
export interface JobRun<A extends JobArguments = JobArguments> {
  readonly job: JobRecord
  readonly arguments: A
  /** Writes one sentence for people, durable and reported. */
  log(level: JobLogEntry['level'], step: string, sentence: string): Promise<void>
  progress(facts: ProgressFacts): void
}

/** What a kind of job does. Must be safe to run again from the start after it was cut off anywhere. */
export interface JobRunner<A extends JobArguments = JobArguments> {
  readonly kind: JobKind
  /** Resolves with what the job brought. Rejects with a PlatformError, or the signal's reason. */
  run(run: JobRun<A>, options: CallOptions): Promise<JobResult>
  /**
   * After the agent was stopped in the middle: removes what the dead run left. Returns the result where the
   * work had been done all the same; undefined: run it again.
   */
  recover(run: JobRun<A>, options: CallOptions): Promise<JobResult | undefined>
}

/** One runner per kind of arguments: a missing one is a compile error. */
export type JobRunners = { readonly [T in JobArguments['type']]: JobRunner<Extract<JobArguments, { type: T }>> }
