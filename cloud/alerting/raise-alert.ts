import type { LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import type { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import type { AlertSeverity } from '@sendense/shared/domain/alert-severity.ts'
import type { SystemTransaction } from '../db/database.ts'
import { alert } from '../db/schema/protection.ts'

export interface NewAlert {
  readonly mspId: string
  readonly customerId: string
  readonly agentId: string
  readonly alertId: string
  readonly severity: AlertSeverity
  readonly error: ErrorReport
  readonly raisedAt: Date
}

/** Adds an alert. Whoever looks on is to be told what is returned, once it is durable; undefined: its id is there already. */
export async function raiseAlert(tx: SystemTransaction, raised: NewAlert): Promise<LiveEvent | undefined> {
  const { mspId, customerId, agentId, alertId, severity, error, raisedAt } = raised
  const added = await tx
    .insert(alert)
    .values({ mspId, customerId, id: alertId, agentId, severity, error, raisedAt })
    .onConflictDoNothing()
    .returning({ id: alert.id })
  return added.length === 1 ? { type: 'alert-raised', alertId, agentId, severity } : undefined
}
