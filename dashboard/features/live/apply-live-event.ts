import type { JobView, LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import type { JobProgress } from '@sendense/shared/contracts/job.ts'
import { canJobMove, isFinalJobState, type JobState } from '@sendense/shared/domain/job-state.ts'
import type { QueryClient, QueryKey } from '@tanstack/react-query'

/** Where the cache keeps what a live event can touch: the beginnings of its keys. */
export interface LiveCacheKeys {
  readonly jobLists: QueryKey
  readonly jobDetails: QueryKey
  readonly vms: QueryKey
  readonly restorePoints: QueryKey
  readonly repositories: QueryKey
  readonly sites: QueryKey
  readonly agents: QueryKey
  readonly alerts: QueryKey
}

/**
 * Brings what an event says into the cache at once, so that the screen follows without a request.
 * Returns the keys whose data is out of date now; the caller re-reads them, several events at a time.
 */
export function applyLiveEvent(event: LiveEvent, queryClient: QueryClient, keys: LiveCacheKeys): readonly QueryKey[] {
  switch (event.type) {
    case 'job-progress':
      patchJobs(queryClient, keys, event.progress.jobId, (job) => withProgress(job, event.progress))
      return []
    case 'job-changed':
      patchJobs(queryClient, keys, event.jobId, (job) => withState(job, event.state))
      return [keys.jobLists, keys.jobDetails, keys.vms]
    case 'restore-point-added':
      return [keys.restorePoints, keys.vms, keys.repositories]
    case 'restore-point-changed':
      return [keys.restorePoints]
    case 'inventory-changed':
      return [keys.vms, keys.repositories, keys.sites]
    case 'agent-changed':
      return [keys.agents, keys.sites]
    case 'alert-raised':
    case 'alert-acknowledged':
      return [keys.alerts]
    case 'stream-reset':
      return Object.values(keys)
    default:
      return event satisfies never
  }
}

/** The newer of both progresses. A job that has ended keeps what it ended with. */
export function withProgress<J extends JobView>(job: J, progress: JobProgress): J {
  if (isFinalJobState(job.state)) return job
  if (job.progress !== null && Date.parse(job.progress.at) > Date.parse(progress.at)) return job
  return { ...job, state: job.state === 'queued' ? 'running' : job.state, progress }
}

/** The job in `state` where it can move there from the one it is in; late and repeated events change nothing. */
export function withState<J extends JobView>(job: J, state: JobState): J {
  return canJobMove(job.state, state) ? { ...job, state } : job
}

function patchJobs(
  queryClient: QueryClient,
  keys: LiveCacheKeys,
  jobId: string,
  change: <J extends JobView>(job: J) => J,
): void {
  queryClient.setQueriesData<JobView[]>({ queryKey: keys.jobLists }, (jobs) =>
    jobs?.some((job) => job.jobId === jobId) === true
      ? jobs.map((job) => (job.jobId === jobId ? change(job) : job))
      : jobs,
  )
  queryClient.setQueriesData<JobView>({ queryKey: keys.jobDetails }, (job) =>
    job?.jobId === jobId ? change(job) : job,
  )
}
