import type { ListAlertsInput } from '@sendense/shared/contracts/api/alert-api.ts'
import { alertSeverities, type AlertSeverity } from '@sendense/shared/domain/alert-severity.ts'
import { z } from 'zod'

export const alertStates = ['open', 'acknowledged', 'all'] as const
export const alertStateWord: { readonly [S in (typeof alertStates)[number]]: string } = {
  open: 'Open',
  acknowledged: 'Acknowledged',
  all: 'All',
}

/** Which alerts are shown. It stands in the page's address, so that it can be linked to and outlives a reload. */
export interface AlertFilter {
  readonly state: (typeof alertStates)[number]
  readonly severity: AlertSeverity | 'all'
  /** `site:<id>`, `agent:<id>`, or empty for everywhere. */
  readonly place: string
}

const Place = z.string().regex(/^(site|agent):[0-9a-f-]{36}$/i)
const Address = z.object({
  state: z.enum(alertStates).catch('open'),
  severity: z.enum([...alertSeverities, 'all']).catch('all'),
  place: Place.catch(''),
})

/** What nobody knows in an address counts as if it were not there. */
export function filterOfAddress(parameters: Pick<URLSearchParams, 'get'>): AlertFilter {
  return Address.parse({
    state: parameters.get('state'),
    severity: parameters.get('severity'),
    place: parameters.get('place'),
  })
}

/** The address of the page with that filter; the defaults are left out. */
export function addressOfFilter({ state, severity, place }: Partial<AlertFilter>): string {
  const parameters = new URLSearchParams()
  if (state !== undefined && state !== 'open') parameters.set('state', state)
  if (severity !== undefined && severity !== 'all') parameters.set('severity', severity)
  if (place !== undefined && place !== '') parameters.set('place', place)
  const text = parameters.toString()
  return text === '' ? '/alerts' : `/alerts?${text}`
}

/** What to ask the API for. */
export function inputOfFilter({ state, severity, place }: AlertFilter): ListAlertsInput {
  const [kind, id] = place.split(':')
  return {
    ...(state === 'all' ? {} : { state }),
    ...(severity === 'all' ? {} : { severity: [severity] }),
    ...(kind === 'site' ? { siteId: id } : {}),
    ...(kind === 'agent' ? { agentId: id } : {}),
  }
}
