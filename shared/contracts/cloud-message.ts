import { z } from 'zod'
import { CommandPayload } from './agent-command.ts'
import { SyncNumber } from './agent-message.ts'
import { Instant } from './identifiers.ts'

/**
 * All events up to `sequence` of that boot epoch are durable in the cloud; the agent trims them.
 * Event sequences go on over boot epochs: they never restart.
 */
export const EventAck = z.strictObject({
  kind: z.literal('event-ack'),
  version: z.literal(1),
  agentId: z.uuid(),
  sequence: z.int().nonnegative(),
})
export type EventAck = z.infer<typeof EventAck>

/** Answer to `sync`. The missing commands follow as their own messages, in order. */
export const SyncAnswer = z.strictObject({
  kind: z.literal('sync-answer'),
  version: z.literal(1),
  agentId: z.uuid(),
  tenantId: z.uuid(),
  /** Events up to here are durable in the cloud. */
  eventSequence: z.int().nonnegative(),
  /** Highest command sequence issued so far. */
  commandSequence: z.int().nonnegative(),
  /** Lowest command sequence after the one the agent holds; absent where there is none. Numbers before it are no more. */
  nextCommandSequence: z.int().positive().optional(),
  serverTime: Instant,
  /** Echo of the request's `clock`, to measure the offset. */
  requestClock: Instant,
  /** The newest sync the cloud took in. Newer than the one that is answered: that one was old and had no effect. */
  newestSync: SyncNumber,
  protocol: z.int().positive(),
})
export type SyncAnswer = z.infer<typeof SyncAnswer>

/** Everything the cloud signs and sends on `…/cmd`. */
export const CloudMessage = z.discriminatedUnion('kind', [CommandPayload, EventAck, SyncAnswer])
export type CloudMessage = z.infer<typeof CloudMessage>
