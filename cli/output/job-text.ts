import type { JobDetailView, JobView } from '@sendense/shared/contracts/api/protection-api.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { formatDuration } from '@sendense/shared/domain/duration.ts'
import { formatLocalTime } from './local-time.ts'
import { formatFacts, formatTable } from './table.ts'

/** A job in one sentence: `backup of web-1: succeeded in 12 s, 34 MiB read, 5 MiB stored`. */
export function jobSentence(job: JobView): string {
  const what = `${job.kind} of ${job.vmName}: ${stateText(job)}`
  const took = tookText(job)
  const parts = [took === undefined ? what : `${what} in ${took}`]
  const brought = resultText(job)
  if (brought !== undefined) parts.push(brought)
  if (job.error !== null) parts.push(`${job.error.message} (${job.error.code})`)
  return parts.join(', ')
}

/** A queued job also says how far its order came. */
export function stateText(job: JobView): string {
  if (job.state !== 'queued') return job.state
  if (job.commandState === 'queued' || job.commandState === 'published') return 'queued, not yet taken by the agent'
  return job.commandState === 'accepted' ? 'queued at the agent' : `queued (${job.commandState})`
}

export function resultText(job: JobView): string | undefined {
  const { result } = job
  if (result === null) return undefined
  switch (result.kind) {
    case 'backup':
      return `${formatByteSize(result.readBytes)} read, ${formatByteSize(result.storedBytes)} stored`
    case 'restore':
      return result.bootProof === undefined
        ? `VM ${result.vmName} made, not started`
        : `VM ${result.vmName} is up after ${formatDuration(result.bootProof.secondsToUp * 1000)}`
    case 'verify':
      return result.summary
    default:
      return result satisfies never
  }
}

export function formatJobTable(jobs: readonly JobView[]): string {
  return formatTable(
    jobs,
    [
      { heading: 'job', text: (job) => job.jobId },
      { heading: 'kind', text: (job) => job.kind },
      { heading: 'vm', text: (job) => job.vmName },
      { heading: 'state', text: (job) => job.state },
      { heading: 'queued', text: (job) => formatLocalTime(job.queuedAt) },
      { heading: 'took', text: (job) => tookText(job) ?? '–', align: 'right' },
      { heading: 'result', text: (job) => job.error?.code ?? resultText(job) ?? job.progress?.sentence ?? '' },
    ],
    'No jobs.',
  )
}

/** Everything about one job, with its log. */
export function formatJob(job: JobDetailView): string {
  const proof = job.result?.kind === 'restore' ? job.result.bootProof : undefined
  const facts = formatFacts([
    ['job', job.jobId],
    ['kind', job.kind],
    ['vm', `${job.vmName} (${job.vmId})`],
    ['site', job.siteName],
    ['state', stateText(job)],
    ['requested by', job.requestedBy],
    ['queued', formatLocalTime(job.queuedAt)],
    ['started', job.startedAt === null ? undefined : formatLocalTime(job.startedAt)],
    ['ended', job.endedAt === null ? undefined : formatLocalTime(job.endedAt)],
    ['took', tookText(job)],
    ['now', job.progress?.sentence],
    ['restore point', job.restorePointId ?? undefined],
    ['result', resultText(job)],
    ['seen up by', proof?.by === undefined ? undefined : `${proof.by}: ${proof.evidence.trim()}`],
    ['error', job.error === null ? undefined : `${job.error.message} (${job.error.code})`],
    ['advice', job.error?.advice],
  ])
  const log = formatTable(
    job.log,
    [
      { heading: 'time', text: (entry) => formatLocalTime(entry.at) },
      { heading: 'level', text: (entry) => entry.level },
      { heading: 'step', text: (entry) => entry.step },
      { heading: 'what happened', text: (entry) => entry.sentence },
    ],
    'The log is empty.',
  )
  return `${facts}\n\n${log}`
}

function tookText(job: JobView): string | undefined {
  if (job.startedAt === null || job.endedAt === null) return undefined
  return formatDuration(Date.parse(job.endedAt) - Date.parse(job.startedAt))
}
