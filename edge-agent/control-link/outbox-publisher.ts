import type { EventBatch } from '@sendense/shared/contracts/agent-message.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { Catalogue } from '../catalog/catalogue.ts'
import type { OutboxEvent } from '../catalog/event-outbox.ts'
import { noteSent, readSentMark } from './sent-mark.ts'

const BATCH_EVENTS_MAX = 200
const BATCH_MAX_BYTES = 256 * 1024
/** Events sent and not acknowledged at the same time. */
const IN_FLIGHT_EVENTS_MAX = 800
/** Silence after which everything that was not acknowledged is sent again. */
const SEND_AGAIN_MS = 20_000

export interface OutboxPublisherOptions {
  readonly catalogue: Catalogue
  readonly agentId: string
  readonly bootEpoch: number
  readonly clock: Clock
  readonly logger: Logger
  /** Signs and sends; resolves when the broker has it. Rejects when the session is over. */
  readonly send: (batch: EventBatch) => Promise<void>
}

/**
 * Sends what the outbox holds, in order, until the cloud acknowledges it; one per session. Nothing leaves the outbox
 * but by an acknowledgement, and what is not acknowledged in time is sent again.
 */
export class OutboxPublisher {
  readonly #options: OutboxPublisherOptions
  #acknowledged: number
  #sent: number
  /** When the cloud last moved on, or was last given something to. */
  #movedAtMs = 0
  #wake: () => void = () => undefined
  #woken = false

  /** @param acknowledged what the cloud said it has when the session began */
  constructor(options: OutboxPublisherOptions, acknowledged: number) {
    this.#options = options
    this.#acknowledged = acknowledged
    this.#sent = acknowledged
  }

  /** Something was appended. */
  nudge(): void {
    this.#woken = true
    this.#wake()
  }

  /** The cloud has everything up to `sequence`: it is removed. */
  async acknowledge(sequence: number, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    const { catalogue } = this.#options
    const upTo = await catalogue.transaction(
      async (tx) => {
        // An acknowledgement of what was never sent is an old one, or forged: nothing of it counts.
        if (sequence > (await readSentMark(tx))) return undefined
        await tx.outbox.trim(sequence)
        return sequence
      },
      { signal },
    )
    if (upTo === undefined || upTo <= this.#acknowledged) return
    this.#acknowledged = upTo
    this.#sent = Math.max(this.#sent, upTo)
    this.#movedAtMs = this.#options.clock.now().getTime()
    this.nudge()
  }

  /** Runs until `signal` aborts; rejects when the session is over. */
  async run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    while (!signal.aborted) {
      this.#woken = false
      if (this.#sent === this.#acknowledged) this.#movedAtMs = this.#options.clock.now().getTime()
      await this.#sendWaiting(signal)
      await this.#sleep(signal, this.#sent > this.#acknowledged ? SEND_AGAIN_MS : undefined)
      const silentMs = this.#options.clock.now().getTime() - this.#movedAtMs
      if (this.#sent === this.#acknowledged || silentMs < SEND_AGAIN_MS) continue
      this.#options.logger.warn({ after: this.#acknowledged }, 'events were not acknowledged: sending them again')
      this.#sent = this.#acknowledged
      this.#movedAtMs = this.#options.clock.now().getTime()
    }
  }

  async #sendWaiting(signal: AbortSignal): Promise<void> {
    const { catalogue, agentId, bootEpoch, clock, send } = this.#options
    while (this.#sent - this.#acknowledged < IN_FLIGHT_EVENTS_MAX) {
      const after = this.#sent
      const events = await catalogue.transaction(
        async (tx) => {
          const batch = firstBatch(await tx.outbox.list({ after, limit: BATCH_EVENTS_MAX }))
          await noteSent(tx, batch.at(-1)?.sequence ?? 0)
          return batch
        },
        { signal },
      )
      const last = events.at(-1)
      if (last === undefined) return
      const sentAt = clock.now().toISOString()
      await send({ kind: 'events', version: 1, agentId, bootEpoch, sentAt, events })
      this.#sent = Math.max(this.#sent, last.sequence)
    }
  }

  async #sleep(signal: AbortSignal, milliseconds: number | undefined): Promise<void> {
    if (this.#woken || signal.aborted) return
    const woken = new AbortController()
    this.#wake = () => woken.abort()
    const ends = AbortSignal.any([signal, woken.signal])
    const never = 2 ** 31 - 1
    await this.#options.clock.sleep(milliseconds ?? never, { signal: ends }).catch(() => undefined)
    this.#wake = () => undefined
  }
}

/** As many as fit into one message, at least one. */
export function firstBatch(waiting: readonly OutboxEvent[]): EventBatch['events'] {
  const events: EventBatch['events'] = []
  let sizeBytes = 0
  for (const { sequence, at, event } of waiting) {
    sizeBytes += Buffer.byteLength(JSON.stringify(event)) + 80
    if (events.length === BATCH_EVENTS_MAX || (events.length > 0 && sizeBytes > BATCH_MAX_BYTES)) break
    events.push({ sequence, at: at.toISOString(), event })
  }
  return events
}
