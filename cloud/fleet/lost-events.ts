import type { SyncRequest } from '@sendense/shared/contracts/agent-message.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import { eq } from 'drizzle-orm'
import type { SystemTransaction } from '../db/database.ts'
import { agent } from '../db/schema/fleet.ts'
import { alert } from '../db/schema/protection.ts'
import type { KnownAgent } from './agent-directory.ts'

/**
 * Moves the mark over events that the agent keeps no more: it removes them only once they were acknowledged, so this
 * database is an older copy of the one that did. Everything after them would wait for ever. People are told which.
 *
 * @param eventHighMark the mark of the agent's row, which this transaction holds locked
 * @returns the mark as it is now
 */
export async function passOverLostEvents(
  tx: SystemTransaction,
  known: KnownAgent,
  request: SyncRequest,
  { eventHighMark, now }: { readonly eventHighMark: number; readonly now: Date },
): Promise<number> {
  const lastLost = request.eventLowestKept - 1
  if (lastLost <= eventHighMark || lastLost > request.eventHighMark) return eventHighMark
  const { mspId, customerId, agentId } = known
  const firstLost = eventHighMark + 1
  const message = `events ${firstLost} to ${lastLost} of agent ${agentId} are not in this database and cannot come again`
  const lost = new PlatformError('agent.events_lost', message, { details: { agentId, firstLost, lastLost } })
  await tx.update(agent).set({ eventHighMark: lastLost }).where(eq(agent.id, agentId))
  await tx.insert(alert).values({
    mspId,
    customerId,
    id: newId(),
    agentId,
    severity: 'critical',
    error: toErrorReport(lost),
    raisedAt: now,
  })
  return lastLost
}
