import type { JobLogEntry } from '@sendense/shared/contracts/job.ts'
import { isFinalJobState } from '@sendense/shared/domain/job-state.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { z } from 'zod'
import type { Catalogue, CatalogueTransaction } from '../catalog/catalogue.ts'
import type { JobArguments, JobRecord } from '../catalog/job-store.ts'
import { isInvariantError, type JobMove, logToJob, moveJob } from './job-changes.ts'
import { toJobReport } from './job-report.ts'
import type { JobRun, JobRunner, JobRunners, ProgressFacts, ProgressSink } from './job-runner.ts'

/** Runs begun before a job that keeps being cut off is given up. */
const ATTEMPTS_MAX = 3
const LISTED_MAX = 1000
/** As the contracts have it: an entry of the log, a line of progress. */
const SENTENCE_MAX = 1000
const PROGRESS_SENTENCE_MAX = 500

const kindOf = {
  'backup-vm': 'backup',
  'restore-vm': 'restore',
  'verify-restore-point': 'verify',
} as const satisfies Record<JobArguments['type'], JobRecord['kind']>

export interface JobEngineOptions {
  readonly catalogue: Catalogue
  readonly runners: JobRunners
  readonly progress: ProgressSink
  readonly clock: Clock
  readonly logger: Logger
  /** Jobs that run at the same time. */
  readonly runningMax: number
  /** A broken invariant: the process must end. */
  readonly onFatal: (error: unknown) => void
  /** Called after each job that reached a final state. */
  readonly onJobEnded?: (job: JobRecord) => void
}

export interface NewJob {
  readonly vmId: string
  readonly commandId?: string
  readonly arguments: JobArguments
}

class ShutdownError extends Error {
  override readonly name = 'ShutdownError'
}

/**
 * Runs jobs from durable rows. A second backup of a VM that has one unfinished fails with `job.already_running`;
 * restores and verifications only read sealed points and run beside it. Every change of a row and its report to the
 * cloud share a transaction.
 */
export class JobEngine {
  readonly #options: JobEngineOptions
  readonly #running = new Map<string, { readonly abort: AbortController; readonly ended: Promise<void> }>()
  /** Ends what waits on the database when the process has to go. */
  readonly #lifetime = new AbortController()
  #started = false
  #stopping = false
  #scheduling: Promise<void> | undefined
  #scheduleAgain = false

  constructor(options: JobEngineOptions) {
    this.#options = options
  }

  /** Jobs that run in this process now. */
  get runningCount(): number {
    return this.#running.size
  }

  /** Queues a job inside the caller's transaction; call `nudge` after it. Does nothing where the job exists. */
  async submit(tx: CatalogueTransaction, { vmId, commandId, arguments: wanted }: NewJob): Promise<void> {
    if ((await tx.jobs.find(wanted.jobId)) !== undefined) return
    const kind = kindOf[wanted.type]
    const at = this.#options.clock.now()
    const other = kind === 'backup' ? await this.#findUnfinishedBackup(tx, vmId) : undefined
    const job: JobRecord = {
      jobId: wanted.jobId,
      kind,
      vmId,
      ...(commandId === undefined ? {} : { commandId }),
      arguments: wanted,
      state: 'queued',
      revision: 0,
      attempt: 0,
      queuedAt: at,
    }
    await tx.jobs.insert(job)
    await tx.outbox.append({ type: 'job-reported', job: toJobReport(job) }, at)
    if (other === undefined) return
    const error = new PlatformError('job.already_running', `job ${other.jobId} of this VM has not ended yet`, {
      details: { jobId: other.jobId },
    })
    await moveJob(tx, job.jobId, { to: 'failed', at, error: toErrorReport(error) })
  }

  /** Recovers what a dead process left running, then begins with the queue. Call once. */
  async start(): Promise<void> {
    const signal = this.#lifetime.signal
    const left = await this.#options.catalogue.transaction(
      async (tx) => await tx.jobs.list({ states: ['running', 'cancelling'], limit: LISTED_MAX }),
      { signal },
    )
    for (const job of left) await this.#recover(job)
    this.#started = true
    this.nudge()
  }

  /** Looks at the queue now. */
  nudge(): void {
    if (!this.#started || this.#stopping) return
    if (this.#scheduling !== undefined) {
      this.#scheduleAgain = true
      return
    }
    this.#scheduling = this.#schedule()
      .catch((error: unknown) => {
        if (!this.#stopping) this.#options.onFatal(error)
      })
      .finally(() => {
        this.#scheduling = undefined
        if (!this.#scheduleAgain) return
        this.#scheduleAgain = false
        this.nudge()
      })
  }

  /**
   * Resolves when the wish is durable, not when the job has ended; one that nothing runs any more ends here.
   * Rejects with `job.not_found`, `job.not_cancellable`.
   */
  async cancel(jobId: string, options: { readonly signal: AbortSignal }): Promise<void> {
    const at = this.#options.clock.now()
    let cancelled = false
    await this.#options.catalogue.transaction(async (tx) => {
      const job = await tx.jobs.find(jobId)
      if (job === undefined) throw new PlatformError('job.not_found', `there is no job ${jobId}`)
      // The second run of a transaction that took effect finds its own work.
      if (job.state === 'cancelled' && cancelled) return
      if (isFinalJobState(job.state)) throw new PlatformError('job.not_cancellable', `job ${jobId} has ended already`)
      cancelled = job.state === 'queued'
      await moveJob(tx, jobId, { to: cancelled ? 'cancelled' : 'cancelling', at })
    }, options)
    const running = this.#running.get(jobId)
    running?.abort.abort(cancellation())
    if (running !== undefined || cancelled || !this.#started) return
    await this.#settle(jobId, { to: 'cancelled', at, error: toErrorReport(cancellation()) })
  }

  /** Puts running jobs back into the queue for the next start; resolves when nothing of them runs any more. */
  async stop(): Promise<void> {
    this.#stopping = true
    await this.#scheduling
    for (const { abort } of this.#running.values()) abort.abort(new ShutdownError('the agent is stopping'))
    await Promise.all([...this.#running.values()].map((running) => running.ended))
    this.#lifetime.abort()
  }

  async #findUnfinishedBackup(tx: CatalogueTransaction, vmId: string): Promise<JobRecord | undefined> {
    const states = ['queued', 'running', 'cancelling'] as const
    return (await tx.jobs.list({ states, vmId, kind: 'backup', limit: 1 }))[0]
  }

  async #schedule(): Promise<void> {
    const { catalogue, runningMax } = this.#options
    if (this.#running.size >= runningMax) return
    const queued = await catalogue.transaction(
      async (tx) => await tx.jobs.list({ states: ['queued'], limit: LISTED_MAX }),
      { signal: this.#lifetime.signal },
    )
    for (const job of queued) {
      if (this.#stopping || this.#running.size >= runningMax) return
      if (this.#running.has(job.jobId)) continue
      const abort = new AbortController()
      const ended = this.#execute(job, abort.signal)
        .catch((error: unknown) => this.#options.onFatal(error))
        .finally(() => {
          this.#running.delete(job.jobId)
          this.nudge()
        })
      this.#running.set(job.jobId, { abort, ended })
    }
  }

  async #execute(queued: JobRecord, signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#options
    const job = await this.#begin(queued)
    if (job === undefined) return
    const log = logger.child({ jobId: job.jobId, kind: job.kind, vmId: job.vmId })
    log.info({ attempt: job.attempt }, 'job begins')
    const run = await this.#openRun(job)
    try {
      const result = await this.#runnerOf(job).run(run, { signal })
      await this.#settle(job.jobId, { to: 'succeeded', at: clock.now(), result })
      log.info({ result }, 'job is done')
    } catch (error) {
      if (isInvariantError(error)) throw error
      if (signal.aborted && signal.reason instanceof ShutdownError)
        return await this.#putBack(run, 'The agent is stopping')
      const cancelled = signal.aborted
      const known = cancelled ? signal.reason : error
      log.warn({ err: error, cancelled }, 'job did not succeed')
      const report = toErrorReport(known)
      await run.log(cancelled ? 'warning' : 'error', 'end', report.message)
      await this.#settle(job.jobId, { to: cancelled ? 'cancelled' : 'failed', at: clock.now(), error: report })
    }
  }

  async #recover(job: JobRecord): Promise<void> {
    const { clock, logger } = this.#options
    const run = await this.#openRun(job)
    try {
      const result = await this.#runnerOf(job).recover(run, { signal: this.#lifetime.signal })
      if (result !== undefined) {
        await run.log('info', 'recover', 'The agent had stopped after the work was done; nothing had to be repeated.')
        await this.#settle(job.jobId, { to: 'succeeded', at: clock.now(), result })
      } else if (job.state === 'cancelling') {
        await this.#settle(job.jobId, { to: 'cancelled', at: clock.now(), error: toErrorReport(cancellation()) })
      } else if (job.attempt >= ATTEMPTS_MAX) {
        const sentence = `the agent was stopped in the middle of this job ${job.attempt} times; it is not tried again`
        const error = new PlatformError('job.interrupted', sentence, { details: { attempt: job.attempt } })
        await this.#settle(job.jobId, { to: 'failed', at: clock.now(), error: toErrorReport(error) })
      } else {
        await this.#putBack(run, 'The agent was stopped in the middle of this job')
      }
    } catch (error) {
      if (isInvariantError(error)) throw error
      logger.error({ jobId: job.jobId, err: error }, 'job could not be recovered')
      const reason = toErrorReport(error).message
      const known = new PlatformError('job.interrupted', `the agent was stopped in the middle of this job; ${reason}`)
      await this.#settle(job.jobId, { to: 'failed', at: clock.now(), error: toErrorReport(known) })
    }
  }

  async #putBack(run: JobRun, why: string): Promise<void> {
    await run.log('warning', 'recover', `${why}; nothing half-made was kept, the job starts again from its beginning.`)
    const back = await this.#move(run.job.jobId, { to: 'queued', at: this.#options.clock.now() })
    if (back !== undefined) return
    // Somebody cancelled it meanwhile.
    const error = toErrorReport(cancellation())
    await this.#settle(run.job.jobId, { to: 'cancelled', at: this.#options.clock.now(), error })
  }

  /** An outcome that the cloud would not understand ends the job all the same, as failed. */
  async #settle(jobId: string, move: JobMove): Promise<void> {
    let ended: JobRecord | undefined
    try {
      ended = await this.#move(jobId, move)
    } catch (error) {
      if (!(error instanceof z.ZodError)) throw error
      this.#options.logger.error({ jobId, err: error }, 'the outcome of a job cannot be reported')
      const known = new PlatformError('internal.unexpected', 'the outcome of this job cannot be reported')
      const to = move.to === 'succeeded' ? 'failed' : move.to
      ended = await this.#move(jobId, { to, at: move.at, error: toErrorReport(known) })
    }
    if (ended !== undefined) this.#options.onJobEnded?.(ended)
  }

  /** Undefined where somebody cancelled it before. */
  async #begin(queued: JobRecord): Promise<JobRecord | undefined> {
    const { catalogue, clock } = this.#options
    const work = async (tx: CatalogueTransaction): Promise<JobRecord | undefined> => {
      const moved = await moveJob(tx, queued.jobId, { to: 'running', at: clock.now() })
      if (moved !== undefined) return moved
      // The run before this one took effect, and the answer got lost.
      const now = await tx.jobs.find(queued.jobId)
      return now !== undefined && now.attempt > queued.attempt && !isFinalJobState(now.state) ? now : undefined
    }
    return await catalogue.transaction(work, { signal: this.#lifetime.signal })
  }

  /** Undefined where the job cannot go there from where it is. A job that is there already has got there by this move. */
  async #move(jobId: string, move: JobMove): Promise<JobRecord | undefined> {
    const work = async (tx: CatalogueTransaction): Promise<JobRecord | undefined> => {
      const moved = await moveJob(tx, jobId, move)
      if (moved !== undefined) return moved
      const now = await tx.jobs.find(jobId)
      return now?.state === move.to ? now : undefined
    }
    return await this.#options.catalogue.transaction(work, { signal: this.#lifetime.signal })
  }

  #runnerOf(job: JobRecord): JobRunner {
    // The table's type pairs each runner with its own arguments; a row's arguments come from the same type.
    return this.#options.runners[job.arguments.type]
  }

  async #openRun(job: JobRecord): Promise<JobRun> {
    const { catalogue, clock, progress } = this.#options
    const signal = this.#lifetime.signal
    const log = await catalogue.transaction(async (tx) => await tx.jobs.listLog(job.jobId), { signal })
    let sequence = (log.at(-1)?.sequence ?? -1) + 1
    const rate = createRateMeter(clock)
    return {
      job,
      arguments: job.arguments,
      log: async (level, step, sentence) => {
        const at = clock.now().toISOString()
        const entry: JobLogEntry = { sequence: sequence++, at, level, step, sentence: sentence.slice(0, SENTENCE_MAX) }
        await catalogue.transaction(async (tx) => await logToJob(tx, job.jobId, entry), { signal })
      },
      progress: (facts) => {
        const at = clock.now().toISOString()
        const sentence = facts.sentence.slice(0, PROGRESS_SENTENCE_MAX)
        progress.report({ jobId: job.jobId, ...facts, sentence, bytesPerSecond: rate(facts), at })
      },
    }
  }
}

function cancellation(): PlatformError {
  return new PlatformError('internal.cancelled', 'the job was cancelled')
}

/** Bytes per second over about the last five seconds of one phase. */
function createRateMeter(clock: Clock): (facts: ProgressFacts) => number {
  let samples: { readonly atMs: number; readonly doneBytes: number; readonly phase: string }[] = []
  return ({ phase, doneBytes }) => {
    const atMs = clock.now().getTime()
    samples = samples.filter(
      (sample) => sample.phase === phase && sample.doneBytes <= doneBytes && atMs - sample.atMs < 5000,
    )
    samples.push({ atMs, doneBytes, phase })
    const first = samples[0]
    if (first === undefined || atMs <= first.atMs) return 0
    return Math.round(((doneBytes - first.doneBytes) * 1000) / (atMs - first.atMs))
  }
}
