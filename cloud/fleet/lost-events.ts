import type { SyncRequest } from '@sendense/shared/contracts/agent-message.ts'
import type { LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import { eq } from 'drizzle-orm'
import { raiseAlert } from '../alerting/raise-alert.ts'
import type { SystemTransaction } from '../db/database.ts'
import { agent } from '../db/schema/fleet.ts'
import type { KnownAgent } from './agent-directory.ts'

export interface PassedOver {
  /** The mark as it is now. */
  readonly eventHighMark: number
  /** Who looks on is told these. */
  readonly liveEvents: readonly LiveEvent[]
}

/**
 * Moves the mark over events that the agent keeps no more: it removes them only once they were acknowledged, so this
 * database is an older copy of the one that did. Everything after them would wait for ever. People are told which.
 *
 * @param eventHighMark the mark of the agent's row, which this transaction holds locked
 */
export async function passOverLostEvents(
  tx: SystemTransaction,
  known: KnownAgent,
  request: SyncRequest,
  { eventHighMark, now }: { readonly eventHighMark: number; readonly now: Date },
): Promise<PassedOver> {
  const lastLost = request.eventLowestKept - 1
  if (lastLost <= eventHighMark || lastLost > request.eventHighMark) return { eventHighMark, liveEvents: [] }
  const { mspId, customerId, agentId } = known
  const firstLost = eventHighMark + 1
  const message = `events ${firstLost} to ${lastLost} of agent ${agentId} are not in this database and cannot come again`
  const lost = new PlatformError('agent.events_lost', message, { details: { agentId, firstLost, lastLost } })
  await tx.update(agent).set({ eventHighMark: lastLost }).where(eq(agent.id, agentId))
  const alertId = newId()
  const error = toErrorReport(lost)
  const told = await raiseAlert(tx, {
    mspId,
    customerId,
    agentId,
    alertId,
    severity: 'critical',
    error,
    raisedAt: now,
  })
  return { eventHighMark: lastLost, liveEvents: told === undefined ? [] : [told] }
}
