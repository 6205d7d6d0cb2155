import type { SyncRequest } from '@sendense/shared/contracts/agent-message.ts'
import type { LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import type { SyncAnswer } from '@sendense/shared/contracts/cloud-message.ts'
import { and, asc, eq, gt, sql } from 'drizzle-orm'
import type { Database, SystemTransaction } from '../db/database.ts'
import { agent, command } from '../db/schema/fleet.ts'
import { type KnownAgent, tenantOf } from './agent-directory.ts'
import { settleHeld } from './command-publisher.ts'
import { PROTOCOL_VERSION } from './enrolment.ts'
import { passOverLostEvents } from './lost-events.ts'
import { endLostJobs } from './lost-jobs.ts'

const CLOCK_OFFSET_MAX_MS = 2_000_000_000

export interface SyncOutcome {
  readonly answer: SyncAnswer
  /** Who looks on is told these. */
  readonly liveEvents: readonly LiveEvent[]
}

/**
 * Notes what an agent has, ends the jobs it has lost, and says what the cloud has. The missing commands are sent by
 * the caller.
 */
export async function answerSync(
  database: Database,
  known: KnownAgent,
  request: SyncRequest,
  now: Date,
): Promise<SyncOutcome> {
  const offsetMs = Date.parse(request.clock) - now.getTime()
  const { row, liveEvents, nextSequence } = await database.withSystem(
    'sync with an agent',
    async (tx) => {
      const [updated] = await tx
        .update(agent)
        .set({
          agentVersion: request.agentVersion,
          protocolMin: request.protocol.min,
          protocolMax: request.protocol.max,
          capabilities: request.capabilities,
          lastSeenAt: now,
          clockOffsetMs: Math.max(-CLOCK_OFFSET_MAX_MS, Math.min(CLOCK_OFFSET_MAX_MS, offsetMs)),
          bootEpoch: sql`greatest(${agent.bootEpoch}, ${request.bootEpoch})`,
          commandSequenceHeld: request.lastCommandSequence,
          // An agent that holds more than was given out has outlived a restore of this database.
          commandSequence: sql`greatest(${agent.commandSequence}, ${request.lastCommandSequence})`,
        })
        .where(eq(agent.id, known.agentId))
        .returning()
      if (updated === undefined) throw new Error(`agent ${known.agentId} is gone`)
      await settleHeld(tx, known, request.lastCommandSequence)
      const eventHighMark = await passOverLostEvents(tx, known, request, { eventHighMark: updated.eventHighMark, now })
      const ended = await endLostJobs(tx, known, request, { eventHighMark, now })
      const next = await findNextSequence(tx, known, request.lastCommandSequence)
      return { row: { ...updated, eventHighMark }, liveEvents: ended, nextSequence: next }
    },
    { within: tenantOf(known) },
  )
  const answer: SyncAnswer = {
    kind: 'sync-answer',
    version: 1,
    agentId: known.agentId,
    tenantId: known.customerId,
    eventSequence: row.eventHighMark,
    commandSequence: row.commandSequence,
    ...(nextSequence === undefined ? {} : { nextCommandSequence: nextSequence }),
    serverTime: now.toISOString(),
    requestClock: request.clock,
    protocol: PROTOCOL_VERSION,
  }
  return { answer, liveEvents }
}

/** Number of the first command that follows. Numbers have no gaps unless rows are gone for good. */
async function findNextSequence(
  tx: SystemTransaction,
  known: KnownAgent,
  heldSequence: number,
): Promise<number | undefined> {
  const [next] = await tx
    .select({ sequence: command.sequence })
    .from(command)
    .where(and(eq(command.agentId, known.agentId), gt(command.sequence, heldSequence)))
    .orderBy(asc(command.sequence))
    .limit(1)
  return next?.sequence
}
