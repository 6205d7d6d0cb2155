'use client'

import type { AlertPage, AlertView } from '@sendense/shared/contracts/api/alert-api.ts'
import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { BellOff, CircleCheck, type LucideIcon } from 'lucide-react'
import { useSearchParams } from 'next/navigation'
import { useState } from 'react'
import { countOf } from '../../lib/count-of.ts'
import { useTRPC } from '../../lib/trpc.ts'
import { Button } from '../../ui/button.tsx'
import { Card } from '../../ui/card.tsx'
import { EmptyState } from '../../ui/empty-state.tsx'
import { ErrorNotice } from '../../ui/error-notice.tsx'
import { PageHeader } from '../../ui/page-header.tsx'
import { SkeletonRows } from '../../ui/skeleton.tsx'
import { AcknowledgeAll } from './acknowledge-all.tsx'
import { addressOfFilter, type AlertFilter, filterOfAddress, inputOfFilter } from './alert-filter.ts'
import { AlertFilters } from './alert-filters.tsx'
import { AlertItem } from './alert-item.tsx'
import { useAlertSummary } from './use-alert-summary.ts'
import { useKeptFocus } from './use-kept-focus.ts'

const PAGE_SIZE = 50

type Cursor = NonNullable<AlertPage['nextCursor']>

/** Every alert, newest first, a page at a time; at first those that are open. */
export function AlertListPage() {
  const api = useTRPC()
  const filter = filterOfAddress(useSearchParams())
  const address = addressOfFilter(filter)
  // Where the pages before this one ended, under the filter they were read with; empty on the newest page.
  const [pages, setPages] = useState<{ address: string; cursors: readonly Cursor[] }>({ address, cursors: [] })
  const cursors = pages.address === address ? pages.cursors : []
  const cursor = cursors.at(-1)
  const input = { ...inputOfFilter(filter), limit: PAGE_SIZE, ...(cursor === undefined ? {} : { cursor }) }
  const page = useQuery(api.alert.list.queryOptions(input, { placeholderData: keepPreviousData }))
  const summary = useAlertSummary().data
  const openCount = summary && summary.critical + summary.warning + summary.info
  const open = (page.data?.alerts ?? []).filter((alert) => alert.acknowledged === null)
  const older = page.data?.nextCursor ?? null
  return (
    <>
      <PageHeader
        title="Alerts"
        subtitle="What should not have happened, and what to do about it"
        actions={<AcknowledgeAll alerts={open} />}
      />
      <p aria-live="polite" className="sr-only">
        {openCount === undefined ? '' : countOf(openCount, 'open alert')}
      </p>
      <Card>
        <AlertFilters filter={filter} summary={summary} onChange={showFilter} />
        {page.isLoadingError ? (
          <ErrorNotice className="m-4" error={page.error} onRetry={() => void page.refetch()} />
        ) : page.isPending ? (
          <SkeletonRows rows={6} />
        ) : page.data.alerts.length === 0 ? (
          <NoAlerts filter={filter} />
        ) : (
          <Alerts alerts={page.data.alerts} />
        )}
        {cursors.length > 0 || older !== null ? (
          <nav aria-label="Pages" className="flex justify-end gap-2 border-t border-line px-4 py-2.5">
            <Button
              size="sm"
              disabled={cursors.length === 0}
              onClick={() => setPages({ address, cursors: cursors.slice(0, -1) })}
            >
              Newer
            </Button>
            <Button
              size="sm"
              disabled={older === null}
              onClick={() => {
                if (older !== null) setPages({ address, cursors: [...cursors, older] })
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

/** The filter stands in the address, without a round trip to the server and without an entry in the history. */
function showFilter(filter: AlertFilter): void {
  globalThis.history.replaceState(null, '', addressOfFilter(filter))
}

function Alerts({ alerts }: { alerts: readonly AlertView[] }) {
  const { listRef, keepFocusAfter } = useKeptFocus()
  return (
    <ul ref={listRef} aria-label="Alerts" tabIndex={-1} className="divide-y divide-line outline-none">
      {alerts.map((alert, index) => (
        <AlertItem key={alert.alertId} alert={alert} onAcknowledged={() => keepFocusAfter(index)} />
      ))}
    </ul>
  )
}

const emptyFaces: { readonly [S in AlertFilter['state']]: { icon: LucideIcon; title: string; more: string } } = {
  open: {
    icon: CircleCheck,
    title: 'No open alerts',
    more: 'An alert appears here at once when an agent refuses a command, or when its reports are refused or lost.',
  },
  acknowledged: {
    icon: BellOff,
    title: 'Nothing acknowledged yet',
    more: 'Alerts that somebody has looked at and acknowledged are kept here.',
  },
  all: { icon: CircleCheck, title: 'No alerts', more: 'Nothing has happened that a person should look at.' },
}

function NoAlerts({ filter }: { filter: AlertFilter }) {
  const { icon, title, more } = emptyFaces[filter.state]
  if (filter.severity === 'all' && filter.place === '') {
    return (
      <EmptyState icon={icon} title={title}>
        {more}
      </EmptyState>
    )
  }
  return (
    <EmptyState icon={icon} title="No such alerts">
      Choose another severity or place above.
    </EmptyState>
  )
}
