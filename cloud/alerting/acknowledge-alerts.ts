import type { AlertView } from '@sendense/shared/contracts/api/alert-api.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { asc, inArray } from 'drizzle-orm'
import { appendAudit } from '../audit/audit-chain.ts'
import type { TenantTransaction } from '../db/database.ts'
import { alert } from '../db/schema/protection.ts'
import { findAlerts } from './alert-views.ts'

/** Who has looked at them, and when. */
export interface Acknowledger {
  readonly email: string
  readonly now: Date
}

/** The alerts as they are now, newest first, and which of them changed. */
export interface AcknowledgedAlerts {
  readonly alerts: AlertView[]
  readonly changed: readonly {
    readonly mspId: string
    readonly customerId: string
    readonly alertId: string
    readonly agentId: string
  }[]
}

/**
 * Acknowledges all of them or none, each with an audit entry. One that is acknowledged already stays as it is, so that
 * a repeated click or request changes nothing. Rejects with `resource.not_found` where one is not there.
 */
export async function acknowledgeAlerts(
  tx: TenantTransaction,
  alertIds: readonly string[],
  { email, now }: Acknowledger,
): Promise<AcknowledgedAlerts> {
  const wanted = [...new Set(alertIds.map((alertId) => alertId.toLowerCase()))]
  // Locked in one order, so that two who acknowledge the same at once wait for each other instead of failing.
  const rows = await tx.select().from(alert).where(inArray(alert.id, wanted)).orderBy(asc(alert.id)).for('update')
  const there = new Set(rows.map((row) => row.id))
  const missing = wanted.find((alertId) => !there.has(alertId))
  if (missing !== undefined) throw new PlatformError('resource.not_found', `alert ${missing} is not there`)
  const open = rows.filter((row) => row.acknowledgedAt === null)
  if (open.length > 0) {
    const ids = open.map((row) => row.id)
    await tx.update(alert).set({ acknowledgedAt: now, acknowledgedBy: email }).where(inArray(alert.id, ids))
  }
  const alerts = await findAlerts(tx, wanted)
  for (const { alertId, customerId, agentId, severity, error } of alerts) {
    const row = open.find(({ id }) => id === alertId)
    if (row === undefined) continue
    const details = { alertId, agentId, severity, code: error.code }
    const fact = { actor: email, action: 'alert.acknowledged', details, at: now }
    await appendAudit(tx, { mspId: row.mspId, customerId, ...fact })
  }
  return {
    alerts,
    changed: open.map(({ id, mspId, customerId, agentId }) => ({ alertId: id, mspId, customerId, agentId })),
  }
}
