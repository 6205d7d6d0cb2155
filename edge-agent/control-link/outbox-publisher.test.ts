import { randomUUID } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import type { AgentEvent, EventBatch } from '@sendense/shared/contracts/agent-message.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createMemoryCatalogue } from '../catalog/memory/memory-catalogue.ts'
import { firstBatch, OutboxPublisher } from './outbox-publisher.ts'

const signal = AbortSignal.timeout(30_000)
const logger = createLogger('test', 'silent')
const anEvent = (): AgentEvent => ({ type: 'command-reported', commandId: randomUUID(), state: 'accepted' })

/** Time stands still until the test moves it. */
function createManualClock() {
  let nowMs = Date.parse('2026-01-01T00:00:00.000Z')
  let sleepers: { readonly untilMs: number; readonly wake: () => void }[] = []
  const clock: Clock = {
    now: () => new Date(nowMs),
    async sleep(milliseconds, options) {
      options.signal.throwIfAborted()
      await new Promise<void>((resolve, reject) => {
        sleepers.push({ untilMs: nowMs + milliseconds, wake: resolve })
        options.signal.addEventListener('abort', () => reject(options.signal.reason as Error), { once: true })
      })
    },
  }
  const pass = async (milliseconds: number) => {
    nowMs += milliseconds
    const due = sleepers.filter((sleeper) => sleeper.untilMs <= nowMs)
    sleepers = sleepers.filter((sleeper) => sleeper.untilMs > nowMs)
    for (const { wake } of due) wake()
    for (let count = 0; count < 20; count++) await turn()
  }
  return { clock, pass }
}

async function startPublisher(eventCount: number) {
  const catalogue = createMemoryCatalogue()
  for (let count = 0; count < eventCount; count++) {
    await catalogue.transaction(async (tx) => await tx.outbox.append(anEvent(), new Date()), { signal })
  }
  const { clock, pass } = createManualClock()
  const sent: EventBatch[] = []
  const send = async (batch: EventBatch) => void sent.push(batch)
  const agentId = randomUUID()
  const publisher = new OutboxPublisher({ catalogue, agentId, bootEpoch: 1, clock, logger, send }, 0)
  const end = new AbortController()
  const running = publisher.run({ signal: end.signal })
  await pass(0)
  const stop = async () => {
    end.abort()
    await running
  }
  const kept = async () =>
    (await catalogue.transaction(async (tx) => await tx.outbox.list({ after: 0, limit: 5000 }), { signal })).length
  return { publisher, pass, sent, stop, kept }
}

const numbersOf = (batches: readonly EventBatch[]) =>
  batches.flatMap((batch) => batch.events.map((entry) => entry.sequence))

test('what is not acknowledged is sent again, and only after a while', async () => {
  const { pass, sent, stop } = await startPublisher(3)
  expect(numbersOf(sent)).toEqual([1, 2, 3])
  await pass(19_000)
  expect(numbersOf(sent)).toEqual([1, 2, 3])
  await pass(1000)
  expect(numbersOf(sent)).toEqual([1, 2, 3, 1, 2, 3])
  await stop()
})

test('no more than a window is sent before the first acknowledgement', async () => {
  const { publisher, pass, sent, stop, kept } = await startPublisher(1500)
  expect(numbersOf(sent)).toHaveLength(800)
  await publisher.acknowledge(200, { signal })
  await pass(0)
  expect(numbersOf(sent).at(-1)).toBe(1000)
  expect(await kept()).toBe(1300)
  await stop()
})

test('an acknowledgement of what was never given out removes nothing', async () => {
  const { publisher, stop, kept } = await startPublisher(3)
  await publisher.acknowledge(4, { signal })
  expect(await kept()).toBe(3)
  await publisher.acknowledge(3, { signal })
  await publisher.acknowledge(1, { signal })
  expect(await kept()).toBe(0)
  await stop()
})

test('a batch is never empty, never too large unless one event alone is, and keeps the order', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 300_000 }), { minLength: 1, maxLength: 250 }), (sizes) => {
      const waiting = sizes.map((sizeBytes, index) => {
        const error = { code: 'a.b', message: 'x'.repeat(sizeBytes), advice: '', details: {} }
        const event: AgentEvent = { type: 'alert-raised', alertId: randomUUID(), severity: 'info', error }
        return { sequence: index + 1, at: new Date(0), event }
      })
      const batch = firstBatch(waiting)
      expect(batch.map((entry) => entry.sequence)).toEqual(batch.map((_, index) => index + 1))
      expect(batch.length).toBeGreaterThan(0)
      expect(batch.length).toBeLessThanOrEqual(200)
      expect(batch.length === 1 || JSON.stringify(batch).length <= 256 * 1024).toBe(true)
    }),
    { numRuns: 50 },
  )
})
