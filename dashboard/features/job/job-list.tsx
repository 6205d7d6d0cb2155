'use client'

import type { JobState } from '@sendense/shared/domain/job-state.ts'
import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { ListChecks } from 'lucide-react'
import { useState } from 'react'
import { useTRPC } from '../../lib/trpc.ts'
import { Button } from '../../ui/button.tsx'
import { Card } from '../../ui/card.tsx'
import { EmptyState } from '../../ui/empty-state.tsx'
import { ErrorNotice } from '../../ui/error-notice.tsx'
import { FilterTabs } from '../../ui/filter-tabs.tsx'
import { PageHeader } from '../../ui/page-header.tsx'
import { SkeletonRows } from '../../ui/skeleton.tsx'
import { JobTable } from './job-table.tsx'

const PAGE_SIZE = 50

const filters = {
  all: { label: 'All', states: undefined },
  active: { label: 'Active', states: ['queued', 'running', 'cancelling'] },
  succeeded: { label: 'Succeeded', states: ['succeeded'] },
  failed: { label: 'Failed', states: ['failed'] },
  cancelled: { label: 'Cancelled', states: ['cancelled'] },
} as const satisfies Record<string, { label: string; states: readonly JobState[] | undefined }>
type FilterName = keyof typeof filters
const filterNames = Object.keys(filters) as FilterName[]

/** Every job, newest first, a page at a time. */
export function JobList() {
  const api = useTRPC()
  const [filter, setFilter] = useState<FilterName>('all')
  // Instants where the pages before this one ended; empty on the newest page.
  const [cursors, setCursors] = useState<readonly string[]>([])
  const before = cursors.at(-1)
  const { states } = filters[filter]
  const jobs = useQuery(
    api.job.list.queryOptions(
      {
        limit: PAGE_SIZE,
        ...(states === undefined ? {} : { state: [...states] }),
        ...(before === undefined ? {} : { before }),
      },
      { placeholderData: keepPreviousData },
    ),
  )
  const last = jobs.data?.at(-1)
  const hasOlder = last !== undefined && jobs.data?.length === PAGE_SIZE
  return (
    <>
      <PageHeader title="Jobs" subtitle="Backups, restores and verifications of all sites" />
      <Card>
        <div className="border-b border-line px-3 py-2">
          <FilterTabs
            label="State"
            tabs={filterNames.map((name) => ({ value: name, label: filters[name].label }))}
            value={filter}
            onValueChange={(name) => {
              setFilter(name)
              setCursors([])
            }}
          />
        </div>
        {jobs.isLoadingError ? (
          <ErrorNotice className="m-4" error={jobs.error} onRetry={() => void jobs.refetch()} />
        ) : jobs.isPending ? (
          <SkeletonRows rows={8} />
        ) : jobs.data.length === 0 ? (
          <EmptyState icon={ListChecks} title={filter === 'all' ? 'No jobs yet' : 'No such jobs'}>
            {filter === 'all' ? 'Back up a VM and its job appears here.' : 'Choose another state above.'}
          </EmptyState>
        ) : (
          <JobTable label="Jobs" jobs={jobs.data} />
        )}
        {cursors.length > 0 || hasOlder ? (
          <nav aria-label="Pages" className="flex justify-end gap-2 border-t border-line px-4 py-2.5">
            <Button size="sm" disabled={cursors.length === 0} onClick={() => setCursors(cursors.slice(0, -1))}>
              Newer
            </Button>
            <Button
              size="sm"
              disabled={!hasOlder}
              onClick={() => {
                if (last !== undefined) setCursors([...cursors, last.queuedAt])
              }}
            >
              Older
            </Button>
          </nav>
        ) : null}
      </Card>
    </>
  )
}
