'use client'

import type { SiteView } from '@sendense/shared/contracts/api/fleet-api.ts'
import { useQuery } from '@tanstack/react-query'
import { Building2, Radio } from 'lucide-react'
import Link from 'next/link'
import type { z } from 'zod'
import { useTRPC } from '../../lib/trpc.ts'
import { Button } from '../../ui/button.tsx'
import { Card, CardHeader } from '../../ui/card.tsx'
import { EmptyState } from '../../ui/empty-state.tsx'
import { ErrorNotice } from '../../ui/error-notice.tsx'
import { FactList } from '../../ui/fact-list.tsx'
import { PageHeader } from '../../ui/page-header.tsx'
import { SkeletonRows } from '../../ui/skeleton.tsx'
import { AgentTable } from './agent-table.tsx'
import { EnrolAgentButton } from './enrol-agent-button.tsx'

type Site = z.infer<typeof SiteView>

const parent = { href: '/sites', label: 'Sites' }

export function SiteDetail({ siteId }: { siteId: string }) {
  const api = useTRPC()
  const sites = useQuery(api.site.list.queryOptions())
  const site = sites.data?.find((candidate) => candidate.siteId === siteId)
  if (site !== undefined) return <LoadedSite site={site} />
  return (
    <>
      <PageHeader title="Site" parent={parent} />
      <Card>
        {sites.isLoadingError ? (
          <ErrorNotice className="m-4" error={sites.error} onRetry={() => void sites.refetch()} />
        ) : sites.isPending ? (
          <SkeletonRows />
        ) : (
          <EmptyState
            icon={Building2}
            title="There is no such site"
            action={
              <Button asChild>
                <Link href="/sites">Show all sites</Link>
              </Button>
            }
          >
            It may have been deleted, or it belongs to somebody else.
          </EmptyState>
        )}
      </Card>
    </>
  )
}

function LoadedSite({ site }: { site: Site }) {
  return (
    <div className="space-y-4">
      <PageHeader
        parent={parent}
        title={site.name}
        subtitle={site.customerName}
        actions={<EnrolAgentButton site={site} />}
      />
      <Card>
        <FactList
          facts={[
            { label: 'Agents', value: site.agents.length },
            { label: 'VMs', value: site.vmCount },
            { label: 'Protected VMs', value: site.protectedVmCount },
            { label: 'Time zone', value: site.timeZone },
          ]}
        />
      </Card>
      <Card>
        <CardHeader title="Agents" />
        {site.agents.length === 0 ? (
          <EmptyState icon={Radio} title="No agent yet" action={<EnrolAgentButton site={site} />}>
            An agent runs at the site, finds the VMs there and keeps their restore points on the site’s own storage.
          </EmptyState>
        ) : (
          <AgentTable agents={site.agents} />
        )}
      </Card>
    </div>
  )
}
