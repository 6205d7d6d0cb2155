'use client'

import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { useQuery } from '@tanstack/react-query'
import { useTRPC } from '../../lib/trpc.ts'
import { useNow } from '../../lib/use-now.ts'
import { ErrorNotice } from '../../ui/error-notice.tsx'
import { PageHeader } from '../../ui/page-header.tsx'
import { useAlertSummary } from '../alert/use-alert-summary.ts'
import { JobProgressCard } from '../job/job-progress-card.tsx'
import { useActiveJobs } from '../job/use-active-jobs.ts'
import { usePermission, useSession } from '../session/session-context.ts'
import { ActivityCard } from './activity-card.tsx'
import { AttentionCard } from './attention-card.tsx'
import { attentionList, protectionCounts } from './fleet-health.ts'
import { LatestRestorePoints } from './latest-restore-points.tsx'
import { StatTile } from './stat-tile.tsx'

const JOBS_READ_MAX = 200
const ALERTS_READ_MAX = 100
const RUNNING_SHOWN_MAX = 6
const REFRESH_MS = 60_000

/** The state of everything at one look: what is protected, what runs, and what needs a person. */
export function Overview() {
  const session = useSession()
  const now = useNow(REFRESH_MS)
  const facts = useFleetFacts()
  const activeJobs = useActiveJobs().data
  const vms = facts.vms.data && protectionCounts(facts.vms.data)
  const agents = facts.agents.data
  const stored = facts.repositories.data?.reduce((sum, repository) => sum + repository.storedBytes, 0)
  const complete = facts.complete
  const attention = complete && attentionList(complete, now)
  return (
    <div className="space-y-4">
      <PageHeader title="Overview" subtitle={session.msp.name} />
      {facts.error === null ? null : <ErrorNotice error={facts.error} onRetry={facts.retry} />}
      <section aria-label="Figures" className="grid grid-cols-2 gap-3 lg:grid-cols-4">
        <StatTile
          href="/sites"
          label="Agents online"
          value={agents && `${agents.filter((agent) => agent.presence === 'online').length}`}
          of={agents && `of ${agents.length}`}
        />
        <StatTile
          href="/vms"
          label="VMs protected"
          value={vms && `${vms.protected}`}
          of={vms && `of ${vms.present}`}
          warning={
            vms !== undefined && vms.protected < vms.present
              ? `${vms.present - vms.protected} without a restore point`
              : undefined
          }
        />
        <StatTile href="/jobs" label="Jobs active" value={activeJobs && `${activeJobs.length}`} />
        <StatTile
          href="/repositories"
          label="Stored"
          value={stored === undefined ? undefined : formatByteSize(stored)}
        />
      </section>
      {activeJobs === undefined || activeJobs.length === 0 ? null : (
        <section aria-label="Active jobs" className="grid gap-3 xl:grid-cols-2">
          {activeJobs.slice(0, RUNNING_SHOWN_MAX).map((job) => (
            <JobProgressCard key={job.jobId} job={job} showVm />
          ))}
        </section>
      )}
      <div className="grid items-start gap-4 xl:grid-cols-[minmax(0,3fr)_minmax(0,2fr)]">
        <AttentionCard items={attention} />
        <ActivityCard jobs={facts.jobs.data} nowMs={now} />
      </div>
      <LatestRestorePoints points={facts.restorePoints.data} />
    </div>
  )
}

function useFleetFacts() {
  const api = useTRPC()
  const agents = useQuery(api.agent.list.queryOptions())
  const vms = useQuery(api.vm.list.queryOptions())
  const repositories = useQuery(api.repository.list.queryOptions())
  const jobs = useQuery(api.job.list.queryOptions({ limit: JOBS_READ_MAX }))
  const restorePoints = useQuery(api.restorePoint.list.queryOptions({}))
  const alerts = useOpenAlerts()
  const all = [agents, vms, repositories, jobs, restorePoints, ...alerts.queries]
  const complete =
    agents.data && repositories.data && jobs.data && restorePoints.data && alerts.facts
      ? {
          agents: agents.data,
          repositories: repositories.data,
          jobs: jobs.data,
          restorePoints: restorePoints.data,
          ...alerts.facts,
        }
      : undefined
  return {
    agents,
    vms,
    repositories,
    jobs,
    restorePoints,
    complete,
    error: all.find((query) => query.isLoadingError)?.error ?? null,
    retry: () => all.forEach((query) => query.isLoadingError && void query.refetch()),
  }
}

/** Those who may not see alerts are told of none. `facts` is undefined while they are being read. */
function useOpenAlerts() {
  const api = useTRPC()
  const permitted = usePermission('alert.read')
  const input = { state: 'open' as const, limit: ALERTS_READ_MAX }
  const page = useQuery(api.alert.list.queryOptions(input, { enabled: permitted }))
  const summary = useAlertSummary()
  if (!permitted) return { queries: [], facts: { openAlerts: [], openAlertCount: 0 } }
  const facts =
    page.data && summary.data
      ? {
          openAlerts: page.data.alerts,
          openAlertCount: summary.data.critical + summary.data.warning + summary.data.info,
        }
      : undefined
  return { queries: [page, summary], facts }
}
