import { isNewerSync, type SyncRequest } from '@sendense/shared/contracts/agent-message.ts'
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
  /** False: as new a sync was taken in before, and this one changed nothing. */
  readonly isNew: boolean
  /** Who looks on is told these. */
  readonly liveEvents: readonly LiveEvent[]
}

/**
 * Notes what an agent has, ends the jobs it has lost, and says what the cloud has. The missing commands are sent by
 * the caller. A sync that is not newer than the newest one that was taken in is only answered: it may come from anyone
 * who kept it, and would make the agent look alive and set back what is known of it. The answer then tells an agent
 * whose memory was set back where to go on from.
 */
export async function answerSync(
  database: Database,
  known: KnownAgent,
  request: SyncRequest,
  now: Date,
): Promise<SyncOutcome> {
  return await database.withSystem(
    'sync with an agent',
    async (tx) => {
      const row = await lockAgent(tx, known)
      const isNew = isNewerSync(request, row)
      if (!isNew) return { answer: await composeAnswer(tx, known, request, { row, now }), isNew, liveEvents: [] }
      const noted = await noteSync(tx, known, request, now)
      await settleHeld(tx, known, request.lastCommandSequence)
      const passed = await passOverLostEvents(tx, known, request, { eventHighMark: row.eventHighMark, now })
      const { eventHighMark } = passed
      const ended = await endLostJobs(tx, known, request, { eventHighMark, now })
      const answer = await composeAnswer(tx, known, request, { row: { ...noted, eventHighMark }, now })
      return { answer, isNew, liveEvents: [...passed.liveEvents, ...ended] }
    },
    { within: tenantOf(known) },
  )
}

type AgentRow = typeof agent.$inferSelect

async function lockAgent(tx: SystemTransaction, known: KnownAgent): Promise<AgentRow> {
  const [row] = await tx.select().from(agent).where(eq(agent.id, known.agentId)).for('update')
  if (row === undefined) throw new Error(`agent ${known.agentId} is gone`)
  return row
}

async function noteSync(tx: SystemTransaction, known: KnownAgent, request: SyncRequest, now: Date): Promise<AgentRow> {
  const offsetMs = Date.parse(request.clock) - now.getTime()
  const [updated] = await tx
    .update(agent)
    .set({
      agentVersion: request.agentVersion,
      protocolMin: request.protocol.min,
      protocolMax: request.protocol.max,
      capabilities: request.capabilities,
      lastSeenAt: now,
      clockOffsetMs: Math.max(-CLOCK_OFFSET_MAX_MS, Math.min(CLOCK_OFFSET_MAX_MS, offsetMs)),
      bootEpoch: request.bootEpoch,
      syncSequence: request.syncSequence,
      commandSequenceHeld: request.lastCommandSequence,
      // An agent that holds more than was given out has outlived a restore of this database.
      commandSequence: sql`greatest(${agent.commandSequence}, ${request.lastCommandSequence})`,
    })
    .where(eq(agent.id, known.agentId))
    .returning()
  if (updated === undefined) throw new Error(`agent ${known.agentId} is gone`)
  return updated
}

async function composeAnswer(
  tx: SystemTransaction,
  known: KnownAgent,
  request: SyncRequest,
  { row, now }: { row: AgentRow; now: Date },
): Promise<SyncAnswer> {
  const nextSequence = await findNextSequence(tx, known, request.lastCommandSequence)
  return {
    kind: 'sync-answer',
    version: 1,
    agentId: known.agentId,
    tenantId: known.customerId,
    eventSequence: row.eventHighMark,
    commandSequence: row.commandSequence,
    ...(nextSequence === undefined ? {} : { nextCommandSequence: nextSequence }),
    serverTime: now.toISOString(),
    requestClock: request.clock,
    newestSync: { bootEpoch: row.bootEpoch, syncSequence: row.syncSequence },
    protocol: PROTOCOL_VERSION,
  }
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
