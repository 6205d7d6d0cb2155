import type { AlertView } from '@sendense/shared/contracts/api/alert-api.ts'
import type {
  JobView,
  RepositoryView,
  RestorePointView,
  VmView,
} from '@sendense/shared/contracts/api/protection-api.ts'
import { alertAdvice } from '@sendense/shared/errors/alert-words.ts'
import { countOf } from '../../lib/count-of.ts'
import type { BadgeTone } from '../../ui/badge.tsx'
import { addressOfFilter } from '../alert/alert-filter.ts'
import { alertTitle, severityWords } from '../alert/alert-words.ts'
import { groupAlerts } from '../alert/group-alerts.ts'
import { jobKindWord, jobOutcome } from '../job/job-words.ts'
import { repositoryState } from '../repository/repository-words.ts'
import { presenceWords, type Agent } from '../site/presence-words.ts'

const DAY_MS = 86_400_000

export interface Attention {
  readonly key: string
  readonly tone: BadgeTone
  readonly title: string
  readonly note: string
  /** What to do now, where that is known. */
  readonly advice?: string
  /** How bad, in a word. */
  readonly badge?: string
  readonly href: string
  /** When it came about; null where that is not known. */
  readonly at: string | null
}

export interface FleetFacts {
  readonly agents: readonly Agent[]
  readonly repositories: readonly RepositoryView[]
  readonly jobs: readonly JobView[]
  readonly restorePoints: readonly RestorePointView[]
  /** The newest that are open, and how many are in all. */
  readonly openAlerts: readonly AlertView[]
  readonly openAlertCount: number
}

/** So many kinds of alerts at most, so that whoever can raise many hides nothing else. */
const ALERT_GROUPS_MAX = 4

/**
 * What a person should look at, the worst first: open alerts, agents and repositories that cannot be reached, restore
 * points found damaged, and jobs that failed within a day of `nowMs`, unless a later job of the same kind and VM succeeded.
 */
export function attentionList(facts: FleetFacts, nowMs: number): Attention[] {
  const { agents, repositories, jobs, restorePoints } = facts
  return [
    ...alertAttention(facts),
    ...repositories.filter((repository) => repository.state !== 'ready').map(repositoryAttention),
    ...restorePoints.filter((point) => point.lastVerification?.outcome === 'failed').map(damageAttention),
    ...agents.filter((agent) => agent.presence !== 'online').map(agentAttention),
    ...openFailures(jobs, nowMs).map(failureAttention),
  ]
}

/** Failed jobs of the last day that no later success of the same kind and VM has made up for. Any order in, same order out. */
export function openFailures(jobs: readonly JobView[], nowMs: number): JobView[] {
  return jobs.filter((job) => {
    if (job.state !== 'failed' || nowMs - Date.parse(job.endedAt ?? job.queuedAt) > DAY_MS) return false
    return !jobs.some(
      (other) =>
        other.vmId === job.vmId &&
        other.kind === job.kind &&
        other.state === 'succeeded' &&
        Date.parse(other.queuedAt) > Date.parse(job.queuedAt),
    )
  })
}

/** Alerts of the same kind and agent are one item; those that find no room are counted. */
function alertAttention({ openAlerts, openAlertCount }: FleetFacts): Attention[] {
  const groups = groupAlerts(openAlerts).slice(0, ALERT_GROUPS_MAX)
  const told = groups.reduce((sum, { alerts }) => sum + alerts.length, 0)
  const items = groups.map(({ newest, times }): Attention => {
    const { tone, word } = severityWords[newest.severity]
    const where = [`Agent ${newest.hostname}`, newest.siteName, ...(newest.vm === null ? [] : [`VM ${newest.vm.name}`])]
    return {
      key: newest.alertId,
      tone,
      badge: word,
      title: alertTitle(newest),
      note: [...where, ...(times === 1 ? [] : [`${times} times`])].join(' · '),
      advice: alertAdvice(newest.error),
      href: addressOfFilter({ severity: newest.severity, place: `agent:${newest.agentId}` }),
      at: newest.raisedAt,
    }
  })
  const untold = openAlertCount - told
  if (untold <= 0) return items
  const title = countOf(untold, 'more open alert')
  return [...items, { key: 'alerts', tone: 'neutral', title, note: 'Show all alerts', href: '/alerts', at: null }]
}

function repositoryAttention(repository: RepositoryView): Attention {
  const { tone, word } = repositoryState[repository.state]
  return {
    key: repository.repositoryId,
    tone,
    title: `Repository ${repository.name}: ${word.toLowerCase()}`,
    note: repository.siteName,
    href: '/repositories',
    at: repository.checkedAt,
  }
}

function damageAttention(point: RestorePointView): Attention {
  return {
    key: point.restorePointId,
    tone: 'danger',
    title: `A restore point of ${point.vmName} is damaged`,
    note: point.lastVerification?.summary ?? '',
    href: `/vms/${point.vmId}`,
    at: point.lastVerification?.at ?? null,
  }
}

function agentAttention(agent: Agent): Attention {
  const { tone, word } = presenceWords[agent.presence]
  return {
    key: agent.agentId,
    tone,
    title: `Agent ${agent.hostname}: ${word.toLowerCase()}`,
    note: `${agent.siteName} · ${agent.customerName}`,
    href: `/sites/${agent.siteId}`,
    at: agent.lastSeenAt,
  }
}

function failureAttention(job: JobView): Attention {
  return {
    key: job.jobId,
    tone: 'danger',
    title: `${jobKindWord[job.kind]} of ${job.vmName} failed`,
    note: jobOutcome(job) ?? '',
    href: `/jobs/${job.jobId}`,
    at: job.endedAt,
  }
}

export interface DayActivity {
  /** Local day, `2026-11-23`. */
  readonly day: string
  readonly succeeded: number
  readonly failed: number
}

/** Ended jobs by the reader's local day, the last `days` of them, oldest first, with empty days. */
export function activityByDay(jobs: readonly JobView[], days: number, nowMs: number): DayActivity[] {
  const counts = new Map<string, { succeeded: number; failed: number }>()
  for (const job of jobs) {
    if (job.endedAt === null || (job.state !== 'succeeded' && job.state !== 'failed')) continue
    const day = localDay(new Date(job.endedAt))
    const count = counts.get(day) ?? { succeeded: 0, failed: 0 }
    count[job.state] += 1
    counts.set(day, count)
  }
  return Array.from({ length: days }, (_, index) => {
    const date = new Date(nowMs)
    date.setHours(12, 0, 0, 0)
    date.setDate(date.getDate() - (days - 1 - index))
    const day = localDay(date)
    return { day, ...(counts.get(day) ?? { succeeded: 0, failed: 0 }) }
  })
}

function localDay(date: Date): string {
  return `${date.getFullYear()}-${twoDigits(date.getMonth() + 1)}-${twoDigits(date.getDate())}`
}

function twoDigits(number: number): string {
  return String(number).padStart(2, '0')
}

/** VMs that are there, and how many of them have a restore point. */
export function protectionCounts(vms: readonly VmView[]): { present: number; protected: number } {
  const present = vms.filter((vm) => vm.present)
  return { present: present.length, protected: present.filter((vm) => vm.restorePointCount > 0).length }
}
