import type { JobDetailView, LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import { isFinalJobState } from '@sendense/shared/domain/job-state.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { JobFeed } from './job-feed.ts'

/** How long a job is believed unchanged when no event comes: proxies may swallow WebSockets. */
const REREAD_MS = 5000

export interface FollowOptions {
  readonly clock: Clock
  readonly signal: AbortSignal
}

/**
 * A job as it is now, then again at each change and each progress, up to and with its end. Steps in between
 * may be left out; the end never is. Rejects as `JobFeed.getJob` does, and with the signal's reason.
 */
export async function* followJob(feed: JobFeed, jobId: string, options: FollowOptions): AsyncGenerator<JobDetailView> {
  const stop = new AbortController()
  const changes = new JobChanges(jobId)
  const listening = listen(feed, changes, AbortSignal.any([stop.signal, options.signal]))
  try {
    for (;;) {
      changes.clear()
      let job = await feed.getJob(jobId)
      yield job
      if (isFinalJobState(job.state)) return
      for (;;) {
        const progress = await changes.next(options)
        if (progress === undefined) break
        job = { ...job, progress }
        yield job
      }
    }
  } finally {
    stop.abort()
    await listening
  }
}

/** The newest of what was told about one job: a later progress replaces an earlier one, so it needs no queue. */
class JobChanges {
  readonly #jobId: string
  #stale = false
  #progress: JobDetailView['progress'] = null
  #wake = Promise.withResolvers<void>()

  constructor(jobId: string) {
    this.#jobId = jobId
  }

  note(event: LiveEvent): void {
    if (event.type === 'job-progress' && event.progress.jobId === this.#jobId) this.#progress = event.progress
    else if (event.type === 'stream-reset') this.#stale = true
    else if (event.type === 'job-changed' && event.jobId === this.#jobId) this.#stale = true
    else return
    this.#wake.resolve()
  }

  clear(): void {
    this.#stale = false
    this.#progress = null
  }

  /** The next progress, or undefined when the job has to be read again. */
  async next({ clock, signal }: FollowOptions): Promise<NonNullable<JobDetailView['progress']> | undefined> {
    signal.throwIfAborted()
    this.#wake = Promise.withResolvers<void>()
    if (!this.#stale && this.#progress === null) {
      const done = new AbortController()
      const pause = clock.sleep(REREAD_MS, { signal: AbortSignal.any([signal, done.signal]) })
      try {
        await Promise.race([this.#wake.promise, pause])
      } finally {
        done.abort()
        await pause.catch(() => undefined)
      }
    }
    if (this.#stale || this.#progress === null) return undefined
    const progress = this.#progress
    this.#progress = null
    return progress
  }
}

async function listen(feed: JobFeed, changes: JobChanges, signal: AbortSignal): Promise<void> {
  try {
    for await (const event of feed.events({ signal })) changes.note(event)
  } catch {
    // Without the stream the job is re-read by time; what is wrong with the session shows there.
  }
}
