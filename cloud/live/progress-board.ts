import type { JobProgress } from '@sendense/shared/contracts/job.ts'

const JOBS_MAX = 5000

/** Newest progress of running jobs, in this process's memory. Past its bound the least recent are forgotten. */
export interface ProgressBoard {
  set(progress: JobProgress): void
  get(jobId: string): JobProgress | undefined
  remove(jobId: string): void
}

export function createProgressBoard(): ProgressBoard {
  const board = new Map<string, JobProgress>()
  return {
    set(progress) {
      board.delete(progress.jobId)
      board.set(progress.jobId, progress)
      if (board.size <= JOBS_MAX) return
      const oldest = board.keys().next().value
      if (oldest !== undefined) board.delete(oldest)
    },
    get: (jobId) => board.get(jobId),
    remove: (jobId) => void board.delete(jobId),
  }
}
