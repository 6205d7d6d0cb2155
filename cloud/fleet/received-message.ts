import { EventBatch, ProgressMessage, SyncRequest } from '@sendense/shared/contracts/agent-message.ts'
import { z } from 'zod'

/** Numbers are read, events and their times not yet: one that this cloud does not know must not hold up the others. */
export const ReceivedBatch = EventBatch.extend({
  events: z
    .array(z.strictObject({ sequence: z.int().positive(), at: z.unknown(), event: z.unknown() }))
    .min(1)
    .max(200),
})
export type ReceivedBatch = z.infer<typeof ReceivedBatch>

/** What an agent signs, as far as it is read before its events are taken in one by one. */
export const ReceivedMessage = z.discriminatedUnion('kind', [ReceivedBatch, SyncRequest, ProgressMessage])
export type ReceivedMessage = z.infer<typeof ReceivedMessage>
