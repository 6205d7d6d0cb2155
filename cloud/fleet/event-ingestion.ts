import { AgentEvent } from '@sendense/shared/contracts/agent-message.ts'
import type { LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import { Instant } from '@sendense/shared/contracts/identifiers.ts'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { eq } from 'drizzle-orm'
import { z } from 'zod'
import { raiseAlert } from '../alerting/raise-alert.ts'
import type { Database, SystemTransaction } from '../db/database.ts'
import { databaseErrorCode } from '../db/resilient-pool.ts'
import { agent, agentEvent } from '../db/schema/fleet.ts'
import { type KnownAgent, tenantOf } from './agent-directory.ts'
import { applyInventory } from './effects/apply-inventory.ts'
import { applyCommandReport, applyJobReport } from './effects/apply-job-report.ts'
import { applyAlert, applyDeletion, applyRestorePoint, applyUsage, applyVerification } from './effects/apply-reports.ts'
import type { ReceivedBatch } from './received-message.ts'

/** What an event did: who looks on is told once all of it is durable. */
export interface EffectContext {
  readonly tx: SystemTransaction
  readonly known: KnownAgent
  readonly at: Date
  readonly tell: (event: LiveEvent) => void
}

export interface Ingested {
  /** Everything up to here is durable. */
  readonly sequence: number
  readonly liveEvents: readonly LiveEvent[]
}

/**
 * Takes a batch in: every event counts once, in order, and all of the batch in one transaction that sees
 * only the agent's own customer. Events behind a gap are left for later. An event that is
 * not understood, has no time there can be, or asks for what its agent may not do, is recorded as refused and has no
 * effect; it does not hold up those after it.
 * Rejects where the database does not answer: then nothing is durable and nothing may be acknowledged.
 */
export async function ingestEvents(
  database: Database,
  known: KnownAgent,
  batch: ReceivedBatch,
  options: { now: Date; logger: Logger },
): Promise<Ingested> {
  return await database.withSystem(
    'take agent events in',
    async (tx) => {
      const liveEvents: LiveEvent[] = []
      const mark = await lockHighMark(tx, known)
      let sequence = mark
      for (const entry of batch.events) {
        if (entry.sequence <= sequence) continue
        if (entry.sequence !== sequence + 1) break
        sequence = entry.sequence
        const outcome = await applyGuarded(tx, known, entry, { ...options, liveEvents })
        const { mspId, customerId, agentId } = known
        await tx.insert(agentEvent).values({
          mspId,
          customerId,
          agentId,
          sequence,
          bootEpoch: batch.bootEpoch,
          type: typeOf(entry.event),
          at: dateOf(entry, options.now),
          outcome,
          receivedAt: options.now,
        })
      }
      // Only what is new says that the agent is there: an old batch may come from anyone who kept it.
      if (sequence === mark) return { sequence, liveEvents }
      const seen = { eventHighMark: sequence, lastSeenAt: options.now }
      await tx.update(agent).set(seen).where(eq(agent.id, known.agentId))
      return { sequence, liveEvents }
    },
    { within: tenantOf(known) },
  )
}

async function lockHighMark(tx: SystemTransaction, known: KnownAgent): Promise<number> {
  const [row] = await tx
    .select({ eventHighMark: agent.eventHighMark })
    .from(agent)
    .where(eq(agent.id, known.agentId))
    .for('update')
  if (row === undefined) throw new Error(`agent ${known.agentId} is gone`)
  return row.eventHighMark
}

// PostgreSQL, "Error Codes": 21 cardinality violation (one row named twice), 22 data exception, 23 integrity constraint, 42501 refused by a policy.
const refusedState = /^(21...|22...|23...|42501)$/

/** In a savepoint: what one refused event wrote is undone alone. Returns `applied` or the reason. */
async function applyGuarded(
  tx: SystemTransaction,
  known: KnownAgent,
  entry: ReceivedBatch['events'][number],
  options: { now: Date; logger: Logger; liveEvents: LiveEvent[] },
): Promise<string> {
  const told: LiveEvent[] = []
  try {
    const { at, event } = readEntry(entry)
    await tx.transaction((inner) =>
      applyEvent(event, { tx: inner, known, at: new Date(at), tell: (live) => void told.push(live) }),
    )
    options.liveEvents.push(...told)
    return 'applied'
  } catch (error) {
    const reason = refusalOf(error)
    if (reason === undefined) throw error
    options.logger.warn(
      { agentId: known.agentId, sequence: entry.sequence, type: typeOf(entry.event), reason, error: String(error) },
      'an event of an agent was refused',
    )
    const raised = await raiseRefusal(tx, known, entry, { reason, raisedAt: dateOf(entry, options.now) })
    if (raised !== undefined) options.liveEvents.push(raised)
    return reason
  }
}

/** A refused event may be a forgery, or a restore point that is missing in the index: people are told. */
async function raiseRefusal(
  tx: SystemTransaction,
  known: KnownAgent,
  entry: ReceivedBatch['events'][number],
  { reason, raisedAt }: { reason: string; raisedAt: Date },
): Promise<LiveEvent | undefined> {
  const { mspId, customerId, agentId } = known
  const message = `event ${entry.sequence} (${typeOf(entry.event)}) of agent ${agentId} was refused: ${reason}`
  const error = toErrorReport(new PlatformError('agent.event_refused', message, { details: { agentId, reason } }))
  return await raiseAlert(tx, { mspId, customerId, agentId, alertId: newId(), severity: 'warning', error, raisedAt })
}

function refusalOf(error: unknown): string | undefined {
  if (isPlatformError(error) && error.code !== 'database.unavailable') return error.code
  const state = databaseErrorCode(error)
  return state !== undefined && refusedState.test(state) ? `database.${state}` : undefined
}

const Entry = z.object({ at: Instant, event: AgentEvent })

/** Throws `input.invalid`. */
function readEntry(entry: ReceivedBatch['events'][number]): z.infer<typeof Entry> {
  const parsed = Entry.safeParse(entry)
  if (parsed.success) return parsed.data
  throw new PlatformError('input.invalid', 'the event is of no form this cloud knows', { cause: parsed.error })
}

/** When the agent says that it was; where there is no such time, when it came. */
function dateOf({ at }: ReceivedBatch['events'][number], now: Date): Date {
  const parsed = Instant.safeParse(at)
  return parsed.success ? new Date(parsed.data) : now
}

const eventTypes = new Set<unknown>(AgentEvent.options.map((option) => option.shape.type.value))
const Typed = z.object({ type: z.custom<AgentEvent['type']>((type) => eventTypes.has(type)) })

/** For the record. What calls itself something else is told by no word of its own. */
function typeOf(event: unknown): string {
  const parsed = Typed.safeParse(event)
  return parsed.success ? parsed.data.type : 'unknown'
}

async function applyEvent(event: AgentEvent, context: EffectContext): Promise<void> {
  switch (event.type) {
    case 'inventory-reported':
      return await applyInventory(event.inventory, context)
    case 'job-reported':
      return await applyJobReport(event.job, context)
    case 'command-reported':
      return await applyCommandReport(event, context)
    case 'restore-point-sealed':
      return await applyRestorePoint(event.restorePoint, context)
    case 'restore-point-verified':
      return await applyVerification(event.verification, context)
    case 'restore-point-deleted':
      return await applyDeletion(event, context)
    case 'usage-measured':
      return await applyUsage(event.facts, context)
    case 'alert-raised':
      return await applyAlert(event, context)
    default:
      return event satisfies never
  }
}
