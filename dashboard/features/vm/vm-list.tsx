'use client'

import { useQuery } from '@tanstack/react-query'
import { Search, Server } from 'lucide-react'
import { useState } from 'react'
import { nextSortOrder, sortBy, type SortOrder } from '../../lib/sort-order.ts'
import { useTRPC } from '../../lib/trpc.ts'
import { Card } from '../../ui/card.tsx'
import { EmptyState } from '../../ui/empty-state.tsx'
import { ErrorNotice } from '../../ui/error-notice.tsx'
import { FilterTabs } from '../../ui/filter-tabs.tsx'
import { PageHeader } from '../../ui/page-header.tsx'
import { SkeletonRows } from '../../ui/skeleton.tsx'
import {
  matchesFilter,
  matchesSearch,
  vmFilters,
  vmFilterWord,
  vmSortKey,
  type VmColumn,
  type VmFilter,
} from './vm-filter.ts'
import { VmTable } from './vm-table.tsx'

/** Every VM the agents see, with what protects it and the way to protect it now. */
export function VmList() {
  const api = useTRPC()
  const vms = useQuery(api.vm.list.queryOptions())
  const [search, setSearch] = useState('')
  const [filter, setFilter] = useState<VmFilter>('all')
  const [order, setOrder] = useState<SortOrder<VmColumn>>({ column: 'name', descending: false })
  const found = (vms.data ?? []).filter((vm) => matchesSearch(vm, search))
  const shown = sortBy(
    found.filter((vm) => matchesFilter(vm, filter)),
    (vm) => vmSortKey(vm, order.column),
    order.descending,
  )
  return (
    <>
      <PageHeader title="VMs" subtitle="Every machine your agents see" />
      <Card>
        <div className="flex flex-wrap items-center justify-between gap-2 border-b border-line px-3 py-2">
          <FilterTabs
            label="Protection"
            tabs={vmFilters.map((name) => ({
              value: name,
              label: vmFilterWord[name],
              count: found.filter((vm) => matchesFilter(vm, name)).length,
            }))}
            value={filter}
            onValueChange={setFilter}
          />
          <SearchBox value={search} onChange={setSearch} />
        </div>
        {vms.isLoadingError ? (
          <ErrorNotice className="m-4" error={vms.error} onRetry={() => void vms.refetch()} />
        ) : vms.isPending ? (
          <SkeletonRows rows={8} />
        ) : vms.data.length === 0 ? (
          <EmptyState icon={Server} title="No VMs yet">
            Once an agent is enrolled at a site, the VMs it finds appear here by themselves.
          </EmptyState>
        ) : shown.length === 0 ? (
          <EmptyState icon={Search} title="No VM matches">
            Change the search or the filter above.
          </EmptyState>
        ) : (
          <VmTable vms={shown} order={order} onSort={(column) => setOrder((before) => nextSortOrder(before, column))} />
        )}
      </Card>
    </>
  )
}

function SearchBox({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  return (
    <div className="relative w-full sm:w-64">
      <Search aria-hidden className="absolute top-2 left-2.5 size-4 text-ink-muted" />
      <input
        type="search"
        aria-label="Search VMs"
        placeholder="Name, site or customer"
        value={value}
        onChange={(event) => onChange(event.target.value)}
        className="h-8 w-full rounded-md border border-line-strong bg-surface pr-2.5 pl-8.5 text-sm placeholder:text-ink-faint"
      />
    </div>
  )
}
