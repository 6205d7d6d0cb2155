import type { AlertView } from '@sendense/shared/contracts/api/alert-api.ts'
import { alertSeverities } from '@sendense/shared/domain/alert-severity.ts'
import { timesOf } from './alert-words.ts'

/** Alerts of one agent that tell the same. */
export interface AlertGroup {
  readonly newest: AlertView
  readonly alerts: readonly AlertView[]
  /** How often it happened, with what the agent did not tell one by one. */
  readonly times: number
}

/** Same agent, code and severity make a group. The worst groups come first, of those the one that happened last. */
export function groupAlerts(alerts: readonly AlertView[]): AlertGroup[] {
  const byKind = Map.groupBy(alerts, ({ agentId, severity, error }) => `${agentId} ${severity} ${error.code}`)
  const groups = [...byKind.values()].flatMap((same) => {
    const [newest, ...older] = same.toSorted((a, b) => Date.parse(b.raisedAt) - Date.parse(a.raisedAt))
    if (newest === undefined) return []
    const times = same.reduce((sum, alert) => sum + timesOf(alert), 0)
    return [{ newest, alerts: [newest, ...older], times }]
  })
  return groups.toSorted(
    (a, b) => rankOf(a.newest) - rankOf(b.newest) || Date.parse(b.newest.raisedAt) - Date.parse(a.newest.raisedAt),
  )
}

function rankOf({ severity }: AlertView): number {
  return alertSeverities.indexOf(severity)
}
