'use client'

import type { VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { useQuery } from '@tanstack/react-query'
import { ListChecks } from 'lucide-react'
import { useTRPC } from '../../lib/trpc.ts'
import { Card, CardHeader } from '../../ui/card.tsx'
import { EmptyState } from '../../ui/empty-state.tsx'
import { ErrorNotice } from '../../ui/error-notice.tsx'
import { PageHeader } from '../../ui/page-header.tsx'
import { Skeleton, SkeletonRows } from '../../ui/skeleton.tsx'
import { JobProgressCard } from '../job/job-progress-card.tsx'
import { JobTable } from '../job/job-table.tsx'
import { useActiveJobs } from '../job/use-active-jobs.ts'
import { RestorePointList } from '../restore-point/restore-point-list.tsx'
import { BackUpNow } from './back-up-now.tsx'
import { VmFacts } from './vm-facts.tsx'
import { VmPower } from './vm-power.tsx'

const parent = { href: '/vms', label: 'VMs' }
const JOBS_SHOWN_MAX = 20

export function VmDetail({ vmId }: { vmId: string }) {
  const api = useTRPC()
  const vm = useQuery(api.vm.get.queryOptions({ vmId }))
  if (vm.isLoadingError) {
    return (
      <>
        <PageHeader title="VM" parent={parent} />
        <ErrorNotice error={vm.error} onRetry={() => void vm.refetch()} />
      </>
    )
  }
  if (vm.isPending) {
    return (
      <output aria-label="Loading" className="block space-y-4">
        <Skeleton className="h-8 w-64" />
        <Skeleton className="h-28" />
        <Skeleton className="h-72" />
      </output>
    )
  }
  return <LoadedVm vm={vm.data} />
}

function LoadedVm({ vm }: { vm: VmView }) {
  const activeJobs = (useActiveJobs().data ?? []).filter((job) => job.vmId === vm.vmId)
  return (
    <div className="space-y-4">
      <PageHeader
        parent={parent}
        title={vm.name}
        subtitle={
          <span className="inline-flex flex-wrap items-center gap-x-3">
            <VmPower state={vm.powerState} present={vm.present} />
            <span>
              {vm.siteName} · {vm.customerName}
            </span>
          </span>
        }
        actions={<BackUpNow vm={vm} />}
      />
      {activeJobs.map((job) => (
        <JobProgressCard key={job.jobId} job={job} />
      ))}
      <VmFacts vm={vm} />
      <RestorePointList vm={vm} />
      <VmJobs vmId={vm.vmId} />
    </div>
  )
}

function VmJobs({ vmId }: { vmId: string }) {
  const api = useTRPC()
  const jobs = useQuery(api.job.list.queryOptions({ vmId, limit: JOBS_SHOWN_MAX }))
  return (
    <Card>
      <CardHeader title="Jobs" />
      {jobs.isLoadingError ? (
        <ErrorNotice className="m-4" error={jobs.error} onRetry={() => void jobs.refetch()} />
      ) : jobs.isPending ? (
        <SkeletonRows />
      ) : jobs.data.length === 0 ? (
        <EmptyState icon={ListChecks} title="No jobs yet">
          Backups, restores and verifications of this VM appear here.
        </EmptyState>
      ) : (
        <JobTable label="Jobs of this VM" jobs={jobs.data} showVm={false} />
      )}
    </Card>
  )
}
