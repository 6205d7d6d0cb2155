'use client'

import type { SiteView } from '@sendense/shared/contracts/api/fleet-api.ts'
import { useQuery } from '@tanstack/react-query'
import { Building2 } from 'lucide-react'
import Link from 'next/link'
import type { z } from 'zod'
import { useTRPC } from '../../lib/trpc.ts'
import { Card } from '../../ui/card.tsx'
import { EmptyState } from '../../ui/empty-state.tsx'
import { ErrorNotice } from '../../ui/error-notice.tsx'
import { PageHeader } from '../../ui/page-header.tsx'
import { SkeletonRows } from '../../ui/skeleton.tsx'
import { Cell, HeaderCell, Row, Table, TableBody, TableHead } from '../../ui/table.tsx'
import { AgentPresence } from './agent-presence.tsx'

type Site = z.infer<typeof SiteView>

/** The customers' sites and who works there. */
export function SiteList() {
  const api = useTRPC()
  const sites = useQuery(api.site.list.queryOptions())
  return (
    <>
      <PageHeader title="Sites" subtitle="Where your customers’ machines are, and the agents that protect them" />
      <Card>
        {sites.isLoadingError ? (
          <ErrorNotice className="m-4" error={sites.error} onRetry={() => void sites.refetch()} />
        ) : sites.isPending ? (
          <SkeletonRows />
        ) : sites.data.length === 0 ? (
          <EmptyState icon={Building2} title="No sites yet">
            A site is made with its customer; then an agent is enrolled there.
          </EmptyState>
        ) : (
          <SiteTable sites={sites.data} />
        )}
      </Card>
    </>
  )
}

function SiteTable({ sites }: { sites: readonly Site[] }) {
  return (
    <Table label="Sites">
      <TableHead>
        <HeaderCell>Site</HeaderCell>
        <HeaderCell>Customer</HeaderCell>
        <HeaderCell>Agents</HeaderCell>
        <HeaderCell className="text-right">VMs</HeaderCell>
        <HeaderCell className="text-right">Protected</HeaderCell>
        <HeaderCell>Time zone</HeaderCell>
      </TableHead>
      <TableBody>
        {sites.map((site) => (
          <Row key={site.siteId}>
            <Cell>
              <Link href={`/sites/${site.siteId}`} className="font-medium hover:underline">
                {site.name}
              </Link>
            </Cell>
            <Cell>{site.customerName}</Cell>
            <Cell>
              {site.agents.length === 0 ? (
                <span className="text-ink-muted">None enrolled</span>
              ) : (
                <ul className="flex flex-wrap gap-x-4 gap-y-1">
                  {site.agents.map((agent) => (
                    <li key={agent.agentId} className="inline-flex items-center gap-2">
                      {agent.hostname}
                      <AgentPresence presence={agent.presence} />
                    </li>
                  ))}
                </ul>
              )}
            </Cell>
            <Cell data-label="VMs" className="text-right">
              {site.vmCount}
            </Cell>
            <Cell data-label="Protected" className="text-right">
              {site.protectedVmCount}
            </Cell>
            <Cell className="text-ink-muted">{site.timeZone}</Cell>
          </Row>
        ))}
      </TableBody>
    </Table>
  )
}
