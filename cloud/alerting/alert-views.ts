import type { AlertPage, AlertSummary, AlertView, ListAlertsInput } from '@sendense/shared/contracts/api/alert-api.ts'
import { PAGE_SIZE_MAX } from '@sendense/shared/contracts/api/protection-api.ts'
import { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { and, desc, eq, inArray, isNotNull, isNull, type SQL, sql } from 'drizzle-orm'
import type { TenantTransaction } from '../db/database.ts'
import { agent } from '../db/schema/fleet.ts'
import { alert } from '../db/schema/protection.ts'
import { customer, site } from '../db/schema/tenancy.ts'
import { vmsOfAlerts } from './alert-subjects.ts'

/** One page, newest first. */
export async function listAlerts(tx: TenantTransaction, filter: ListAlertsInput): Promise<AlertPage> {
  const limit = filter.limit ?? PAGE_SIZE_MAX
  const wanted = and(
    filter.state === undefined ? undefined : stateIs[filter.state],
    filter.severity === undefined ? undefined : inArray(alert.severity, filter.severity),
    filter.siteId === undefined ? undefined : eq(agent.siteId, filter.siteId),
    filter.agentId === undefined ? undefined : eq(alert.agentId, filter.agentId),
    filter.cursor === undefined ? undefined : isBehind(filter.cursor),
  )
  // One more than fits says whether a page follows.
  const rows = await selectAlerts(tx, wanted, limit + 1)
  const alerts = await toAlertViews(tx, rows.slice(0, limit))
  const last = alerts.at(-1)
  const follows = rows.length > limit && last !== undefined
  return { alerts, nextCursor: follows ? `${last.raisedAt}_${last.alertId}` : null }
}

/** Those of the ids that are there, newest first. */
export async function findAlerts(tx: TenantTransaction, alertIds: readonly string[]): Promise<AlertView[]> {
  return await toAlertViews(tx, await selectAlerts(tx, inArray(alert.id, [...alertIds]), alertIds.length))
}

/** How many are open. */
export async function countOpenAlerts(tx: TenantTransaction): Promise<AlertSummary> {
  const rows = await tx
    .select({ severity: alert.severity, count: sql<number | string>`count(*)` })
    .from(alert)
    .where(stateIs.open)
    .groupBy(alert.severity)
  const counts = { critical: 0, warning: 0, info: 0 }
  for (const { severity, count } of rows) counts[severity] = Number(count)
  return counts
}

const stateIs = { open: isNull(alert.acknowledgedAt), acknowledged: isNotNull(alert.acknowledgedAt) } as const

function isBehind(cursor: NonNullable<ListAlertsInput['cursor']>): SQL {
  const [raisedAt, alertId] = cursor.split('_')
  return sql`(${alert.raisedAt}, ${alert.id}) < (${raisedAt}::timestamptz, ${alertId}::uuid)`
}

function selectAlerts(tx: TenantTransaction, condition: SQL | undefined, limit: number) {
  return tx
    .select({ alert, hostname: agent.hostname, siteId: site.id, siteName: site.name, customerName: customer.name })
    .from(alert)
    .innerJoin(
      agent,
      and(eq(agent.mspId, alert.mspId), eq(agent.customerId, alert.customerId), eq(agent.id, alert.agentId)),
    )
    .innerJoin(site, and(eq(site.mspId, agent.mspId), eq(site.customerId, agent.customerId), eq(site.id, agent.siteId)))
    .innerJoin(customer, and(eq(customer.mspId, alert.mspId), eq(customer.id, alert.customerId)))
    .where(condition)
    .orderBy(desc(alert.raisedAt), desc(alert.id))
    .limit(limit)
}

type AlertRow = Awaited<ReturnType<typeof selectAlerts>>[number]

async function toAlertViews(tx: TenantTransaction, rows: readonly AlertRow[]): Promise<AlertView[]> {
  const alerts = rows.map(({ alert: found, ...place }) => ({
    alertId: found.id,
    severity: found.severity,
    agentId: found.agentId,
    ...place,
    customerId: found.customerId,
    error: ErrorReport.parse(found.error),
    raisedAt: found.raisedAt.toISOString(),
    acknowledged: acknowledgementOf(found),
  }))
  const vms = await vmsOfAlerts(tx, alerts)
  return alerts.map((view) => ({ ...view, vm: vms.get(view.alertId) ?? null }))
}

function acknowledgementOf({ acknowledgedAt, acknowledgedBy }: AlertRow['alert']): AlertView['acknowledged'] {
  if (acknowledgedAt === null || acknowledgedBy === null) return null
  return { at: acknowledgedAt.toISOString(), by: acknowledgedBy }
}
