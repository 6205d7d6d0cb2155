import { z } from 'zod'
import { alertSeverities } from '../domain/alert-severity.ts'
import { commandStates } from '../domain/command-state.ts'
import { ErrorReport } from './error-report.ts'
import { Instant } from './identifiers.ts'
import { InventoryReport } from './inventory.ts'
import { JobProgress, JobReport } from './job.ts'
import { RestorePointReport, VerificationReport } from './restore-point.ts'
import { UsageFact } from './usage-fact.ts'

export const AgentEvent = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('inventory-reported'), inventory: InventoryReport }),
  z.strictObject({ type: z.literal('job-reported'), job: JobReport }),
  z.strictObject({ type: z.literal('restore-point-sealed'), restorePoint: RestorePointReport }),
  z.strictObject({ type: z.literal('restore-point-verified'), verification: VerificationReport }),
  /** Its manifest is gone from the repository. */
  z.strictObject({
    type: z.literal('restore-point-deleted'),
    restorePointId: z.uuid(),
    vmId: z.uuid(),
    repositoryId: z.uuid(),
    deletedAt: Instant,
  }),
  z.strictObject({
    type: z.literal('command-reported'),
    commandId: z.uuid(),
    state: z.enum(commandStates).extract(['accepted', 'succeeded', 'failed', 'rejected', 'cancelled']),
    error: ErrorReport.optional(),
  }),
  z.strictObject({ type: z.literal('usage-measured'), facts: z.array(UsageFact).min(1).max(1000) }),
  /** Something a person should look at: a refused command, a suspect chain, a clone. */
  z.strictObject({
    type: z.literal('alert-raised'),
    alertId: z.uuid(),
    severity: z.enum(alertSeverities),
    error: ErrorReport,
  }),
])
export type AgentEvent = z.infer<typeof AgentEvent>

/** Events in order, without gaps. (`agentId`, `bootEpoch`, `sequence`) counts once. At most 200 a batch. */
export const EventBatch = z.strictObject({
  kind: z.literal('events'),
  version: z.literal(1),
  agentId: z.uuid(),
  /** Grows by one at every start of the agent's process. */
  bootEpoch: z.int().positive(),
  sentAt: Instant,
  events: z
    .array(z.strictObject({ sequence: z.int().positive(), at: Instant, event: AgentEvent }))
    .min(1)
    .max(200),
})
export type EventBatch = z.infer<typeof EventBatch>

/** A `jobsInFlight` as long as this may have been cut off. */
export const SYNC_JOBS_MAX = 1000

/** Which sync of an agent one is. It tells a new one from one that was kept and sent again. */
export const SyncNumber = z.strictObject({
  /** Grows by one at every start of the agent's process. */
  bootEpoch: z.int().positive(),
  /** Grows by one with every sync of the epoch, from 1 on. */
  syncSequence: z.int().nonnegative(),
})
export type SyncNumber = z.infer<typeof SyncNumber>

/** A later epoch is newer whatever its sequence; equal ones are the same sync. */
export function isNewerSync(one: SyncNumber, other: SyncNumber): boolean {
  if (one.bootEpoch !== other.bootEpoch) return one.bootEpoch > other.bootEpoch
  return one.syncSequence > other.syncSequence
}

/** First message of every session, and again every minute: what the agent has, so that the cloud sends what is missing. */
export const SyncRequest = z.strictObject({
  kind: z.literal('sync'),
  version: z.literal(1),
  agentId: z.uuid(),
  ...SyncNumber.shape,
  agentVersion: z.string().max(64),
  protocol: z.strictObject({ min: z.int().positive(), max: z.int().positive() }),
  capabilities: z.array(z.string().max(64)).max(100),
  /** Highest command sequence that is durable in the inbox. */
  lastCommandSequence: z.int().nonnegative(),
  /** Highest event sequence ever given out. */
  eventHighMark: z.int().nonnegative(),
  /** Lowest event sequence still kept, the one after the high mark where none is: those below it cannot come again. */
  eventLowestKept: z.int().positive(),
  /** Jobs that are queued or running here, and those of orders in the inbox that no job was made of yet. */
  jobsInFlight: z.array(z.uuid()).max(SYNC_JOBS_MAX),
  clock: Instant,
})
export type SyncRequest = z.infer<typeof SyncRequest>

/** On `…/rt`: lossy. */
export const ProgressMessage = z.strictObject({
  kind: z.literal('progress'),
  version: z.literal(1),
  agentId: z.uuid(),
  jobs: z.array(JobProgress).min(1).max(200),
})
export type ProgressMessage = z.infer<typeof ProgressMessage>

/** Everything an agent signs and sends. */
export const AgentMessage = z.discriminatedUnion('kind', [EventBatch, SyncRequest, ProgressMessage])
export type AgentMessage = z.infer<typeof AgentMessage>

/** On `…/up`, retained, unsigned: a hint only; presence is derived from signed messages too. */
export const PresenceHint = z.strictObject({
  state: z.enum(['online', 'offline']),
  bootEpoch: z.int().positive(),
  at: Instant,
})
export type PresenceHint = z.infer<typeof PresenceHint>
