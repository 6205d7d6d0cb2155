'use client'

import type { AlertSummary } from '@sendense/shared/contracts/api/alert-api.ts'
import { alertSeverities } from '@sendense/shared/domain/alert-severity.ts'
import { useQuery } from '@tanstack/react-query'
import { useTRPC } from '../../lib/trpc.ts'
import { FilterTabs } from '../../ui/filter-tabs.tsx'
import { SelectField } from '../../ui/select-field.tsx'
import { type AlertFilter, alertStates, alertStateWord } from './alert-filter.ts'
import { severityWords } from './alert-words.ts'

export interface AlertFiltersProps {
  filter: AlertFilter
  /** Undefined while it is being read. */
  summary: AlertSummary | undefined
  onChange: (filter: AlertFilter) => void
}

export function AlertFilters({ filter, summary, onChange }: AlertFiltersProps) {
  const openCount = summary && summary.critical + summary.warning + summary.info
  return (
    <div className="flex flex-wrap items-center gap-x-4 gap-y-2 border-b border-line px-3 py-2">
      <FilterTabs
        label="State"
        tabs={alertStates.map((state) => ({
          value: state,
          label: alertStateWord[state],
          ...(state === 'open' && openCount !== undefined ? { count: openCount } : {}),
        }))}
        value={filter.state}
        onValueChange={(state) => onChange({ ...filter, state })}
      />
      <span aria-hidden className="hidden h-5 w-px bg-line sm:block" />
      <FilterTabs
        label="Severity"
        tabs={[
          { value: 'all' as const, label: 'Any severity' },
          ...alertSeverities.map((severity) => ({ value: severity, label: severityWords[severity].word })),
        ]}
        value={filter.severity}
        onValueChange={(severity) => onChange({ ...filter, severity })}
      />
      <PlaceField place={filter.place} onChange={(place) => onChange({ ...filter, place })} />
    </div>
  )
}

function PlaceField({ place, onChange }: { place: string; onChange: (place: string) => void }) {
  const api = useTRPC()
  const sites = useQuery(api.site.list.queryOptions()).data ?? []
  const known = sites.flatMap((site) => [
    `site:${site.siteId}`,
    ...site.agents.map((agent) => `agent:${agent.agentId}`),
  ])
  return (
    <SelectField label="Site or agent" value={place} onValueChange={onChange} className="w-full sm:ml-auto sm:w-60">
      <option value="">All sites and agents</option>
      {place === '' || known.includes(place) ? null : <option value={place}>One that is not listed</option>}
      {sites.map((site) => (
        <optgroup key={site.siteId} label={`${site.name} · ${site.customerName}`}>
          <option value={`site:${site.siteId}`}>All of {site.name}</option>
          {site.agents.map((agent) => (
            <option key={agent.agentId} value={`agent:${agent.agentId}`}>
              Agent {agent.hostname}
            </option>
          ))}
        </optgroup>
      ))}
    </SelectField>
  )
}
