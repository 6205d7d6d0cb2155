import type { JobProgress } from '@sendense/shared/contracts/job.ts'
import type { ProgressSink } from '../jobs/job-runner.ts'

const JOBS_MAX = 200

/** The newest progress of each job since it was last taken: lossy on purpose, so its size is bounded by the jobs. */
export class ProgressBoard implements ProgressSink {
  readonly #newest = new Map<string, JobProgress>()

  report(progress: JobProgress): void {
    this.#newest.set(progress.jobId, progress)
    if (this.#newest.size <= JOBS_MAX) return
    const [oldest] = this.#newest.keys()
    if (oldest !== undefined) this.#newest.delete(oldest)
  }

  /** Takes all that is new; empty where nothing is. */
  take(): JobProgress[] {
    const taken = [...this.#newest.values()]
    this.#newest.clear()
    return taken
  }
}
