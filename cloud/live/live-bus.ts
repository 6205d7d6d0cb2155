import type { LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import { newId } from '@sendense/shared/runtime/identifiers.ts'
import type { TenantContext } from '../db/database.ts'

const REMEMBERED_EVENTS_MAX = 2000
const WAITING_PER_SUBSCRIBER_MAX = 1000

/** Whom an event is about; nobody else ever receives it. */
export interface LiveAudience {
  readonly mspId: string
  readonly customerId: string
}

export interface TrackedLiveEvent {
  readonly id: string
  readonly event: LiveEvent
}

/**
 * Carries changes to the people who look on. Events are hints: state is read from the API. In-process;
 * several nodes need an implementation that also carries them between nodes.
 */
export interface LiveBus {
  publish(audience: LiveAudience, event: LiveEvent): void
  /**
   * Events for one viewer, from the one after `lastEventId`, until the signal aborts. Begins with
   * `stream-reset` where events may be missing in between; a viewer who is too slow gets one too.
   */
  subscribe(
    context: TenantContext,
    options: { lastEventId: string | undefined; signal: AbortSignal },
  ): AsyncIterable<TrackedLiveEvent>
}

interface Entry {
  readonly number: number
  readonly audience: LiveAudience
  readonly event: LiveEvent
}

export function createInProcessLiveBus(): LiveBus {
  const epoch = newId()
  const remembered: Entry[] = []
  const subscribers = new Set<(entry: Entry) => void>()
  let last = 0
  return {
    publish(audience, event) {
      last += 1
      const entry = { number: last, audience, event }
      // Progress is replaced by the next; who comes back later reads it from the API.
      if (event.type !== 'job-progress') remembered.push(entry)
      if (remembered.length > REMEMBERED_EVENTS_MAX) remembered.shift()
      for (const notify of subscribers) notify(entry)
    },
    async *subscribe(context, { lastEventId, signal }) {
      const waiting: Entry[] = []
      let overflowed = false
      let wake: (() => void) | undefined
      const notify = (entry: Entry): void => {
        if (!sees(context, entry.audience)) return
        if (waiting.length < WAITING_PER_SUBSCRIBER_MAX) waiting.push(entry)
        else overflowed = true
        wake?.()
      }
      const onAbort = (): void => wake?.()
      const idOf = (number: number): string => `${epoch}.${number}`
      const from = resumePoint(lastEventId, { epoch, last, remembered })
      if (from !== undefined) {
        waiting.push(...remembered.filter((entry) => entry.number > from && sees(context, entry.audience)))
      }
      subscribers.add(notify)
      signal.addEventListener('abort', onAbort)
      try {
        if (lastEventId !== undefined && from === undefined) yield { id: idOf(last), event: { type: 'stream-reset' } }
        while (!signal.aborted) {
          const entry = waiting.shift()
          if (entry !== undefined) yield { id: idOf(entry.number), event: entry.event }
          else if (overflowed) {
            overflowed = false
            yield { id: idOf(last), event: { type: 'stream-reset' } }
          } else {
            await new Promise<void>((resolve) => {
              wake = resolve
            })
          }
        }
      } finally {
        subscribers.delete(notify)
        signal.removeEventListener('abort', onAbort)
      }
    },
  }
}

function sees(context: TenantContext, audience: LiveAudience): boolean {
  if (context.mspId !== audience.mspId) return false
  return context.customers === 'all' || context.customers.includes(audience.customerId)
}

/** Number after which everything is still remembered, or undefined. */
function resumePoint(
  lastEventId: string | undefined,
  bus: { epoch: string; last: number; remembered: readonly Entry[] },
): number | undefined {
  const [epoch, text] = lastEventId?.split('.') ?? []
  const number = Number(text)
  if (epoch !== bus.epoch || !Number.isSafeInteger(number) || number < 0 || number > bus.last) return undefined
  const oldest = bus.remembered[0]?.number
  const forgotten = bus.remembered.length >= REMEMBERED_EVENTS_MAX && oldest !== undefined && number < oldest - 1
  return forgotten ? undefined : number
}
