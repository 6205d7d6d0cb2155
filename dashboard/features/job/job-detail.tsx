'use client'

import type { JobDetailView } from '@sendense/shared/contracts/api/protection-api.ts'
import { formatDuration } from '@sendense/shared/domain/duration.ts'
import { isFinalJobState } from '@sendense/shared/domain/job-state.ts'
import { useQuery } from '@tanstack/react-query'
import { ScrollText } from 'lucide-react'
import Link from 'next/link'
import { countOf } from '../../lib/count-of.ts'
import { useTRPC } from '../../lib/trpc.ts'
import { Card, CardHeader } from '../../ui/card.tsx'
import { EmptyState } from '../../ui/empty-state.tsx'
import { ErrorNotice } from '../../ui/error-notice.tsx'
import { FactList } from '../../ui/fact-list.tsx'
import { PageHeader } from '../../ui/page-header.tsx'
import { SkeletonRows } from '../../ui/skeleton.tsx'
import { TimeAgo } from '../../ui/time-ago.tsx'
import { JobLog } from './job-log.tsx'
import { JobProgressCard } from './job-progress-card.tsx'
import { JobResultCard } from './job-result-card.tsx'
import { JobStateBadge } from './job-state-badge.tsx'
import { jobKindWord } from './job-words.ts'

const parent = { href: '/jobs', label: 'Jobs' }

/** One run from order to result: live while it goes on, evidence afterwards. */
export function JobDetail({ jobId }: { jobId: string }) {
  const api = useTRPC()
  const job = useQuery(api.job.get.queryOptions({ jobId }))
  if (job.isLoadingError) {
    return (
      <>
        <PageHeader title="Job" parent={parent} />
        <ErrorNotice error={job.error} onRetry={() => void job.refetch()} />
      </>
    )
  }
  if (job.isPending) {
    return (
      <Card>
        <SkeletonRows rows={6} />
      </Card>
    )
  }
  return <LoadedJob job={job.data} />
}

function LoadedJob({ job }: { job: JobDetailView }) {
  const ended = isFinalJobState(job.state)
  return (
    <div className="space-y-4">
      <PageHeader
        parent={parent}
        title={`${jobKindWord[job.kind]} of ${job.vmName}`}
        badge={<JobStateBadge state={job.state} />}
      />
      {ended ? null : <JobProgressCard job={job} linked={false} />}
      {job.error === null ? null : <ErrorNotice report={job.error} />}
      {job.result === null ? null : <JobResultCard result={job.result} sourceVmId={job.vmId} />}
      <Card>
        <FactList
          facts={[
            {
              label: 'VM',
              value: (
                <Link href={`/vms/${job.vmId}`} className="font-medium hover:underline">
                  {job.vmName}
                </Link>
              ),
            },
            { label: 'Site', value: job.siteName },
            { label: 'Started by', value: job.requestedBy },
            { label: 'Queued', value: <TimeAgo at={job.queuedAt} /> },
            { label: 'Started', value: job.startedAt === null ? '–' : <TimeAgo at={job.startedAt} /> },
            { label: 'Duration', value: durationOf(job) },
          ]}
        />
      </Card>
      <Card>
        <CardHeader title="Log" note={job.log.length === 0 ? undefined : countOf(job.log.length, 'line')} />
        {job.log.length === 0 ? (
          <EmptyState icon={ScrollText} title="Nothing yet">
            The agent writes here what it does, as soon as it begins.
          </EmptyState>
        ) : (
          <JobLog entries={job.log} />
        )}
      </Card>
    </div>
  )
}

function durationOf({ startedAt, endedAt }: JobDetailView): string {
  if (startedAt === null) return '–'
  if (endedAt === null) return 'still running'
  return formatDuration(Date.parse(endedAt) - Date.parse(startedAt))
}
