import { randomUUID } from 'node:crypto'
import type { LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import { expect, test } from 'vitest'
import type { TenantContext } from '../db/database.ts'
import { createInProcessLiveBus, type LiveBus, type TrackedLiveEvent } from './live-bus.ts'

const mspId = randomUUID()
const customerId = randomUUID()
const audience = { mspId, customerId }
const everyone: TenantContext = { mspId, customers: 'all' }
const agentChanged = (): LiveEvent => ({ type: 'agent-changed', agentId: randomUUID() })

/** Takes `count` events, then leaves. */
async function take(
  bus: LiveBus,
  count: number,
  lastEventId?: string,
  context = everyone,
): Promise<TrackedLiveEvent[]> {
  const leave = new AbortController()
  const taken: TrackedLiveEvent[] = []
  for await (const event of bus.subscribe(context, { lastEventId, signal: leave.signal })) {
    if (taken.push(event) === count) leave.abort()
  }
  return taken
}

test('only those who see the customer hear of it', async () => {
  const bus = createInProcessLiveBus()
  const [heard, last] = [agentChanged(), agentChanged()]
  const listed = take(bus, 2, undefined, { mspId, customers: [customerId] })
  bus.publish({ mspId: randomUUID(), customerId }, agentChanged())
  bus.publish(audience, heard)
  bus.publish({ mspId, customerId: randomUUID() }, agentChanged())
  bus.publish(audience, last)
  expect((await listed).map((entry) => entry.event)).toEqual([heard, last])
})

test('who comes back gets what was missed, and nothing twice', async () => {
  const bus = createInProcessLiveBus()
  const events = [agentChanged(), agentChanged(), agentChanged()]
  const first = take(bus, 1)
  for (const event of events) bus.publish(audience, event)
  const [seen] = await first
  const rest = await take(bus, 2, seen?.id)
  expect(rest.map((entry) => entry.event)).toEqual(events.slice(1))
})

test('who cannot be given what was missed is told to read again', async () => {
  const bus = createInProcessLiveBus()
  for (let count = 0; count < 3000; count += 1) bus.publish(audience, agentChanged())
  const reset = { type: 'stream-reset' }
  const first = take(bus, 1)
  bus.publish(audience, agentChanged())
  const [newest] = await first
  const tooOld = newest?.id.replace(/\.\d+$/, '.5') ?? ''
  for (const lastEventId of [tooOld, `${randomUUID()}.1`, 'nonsense', `${newest?.id}999`]) {
    expect((await take(bus, 1, lastEventId)).map((entry) => entry.event)).toEqual([reset])
  }
})

test('a viewer who is too slow is told to read again instead of taking all memory', async () => {
  const bus = createInProcessLiveBus()
  const leave = new AbortController()
  const stream = bus.subscribe(everyone, { lastEventId: undefined, signal: leave.signal })[Symbol.asyncIterator]()
  const first = stream.next()
  for (let count = 0; count < 5000; count += 1) bus.publish(audience, agentChanged())
  await first
  let taken = 0
  for (;;) {
    const { value } = await stream.next()
    if (value?.event.type === 'stream-reset') break
    taken += 1
  }
  expect(taken).toBeLessThan(1001)
  leave.abort()
  expect((await stream.next()).done).toBe(true)
})
