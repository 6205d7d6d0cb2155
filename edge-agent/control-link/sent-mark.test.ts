import { randomUUID } from 'node:crypto'
import type { AgentEvent } from '@sendense/shared/contracts/agent-message.ts'
import { expect, test } from 'vitest'
import { createMemoryCatalogue, type MemoryCatalogue } from '../catalog/memory/memory-catalogue.ts'
import { followCloud, noteSent } from './sent-mark.ts'

const signal = AbortSignal.timeout(30_000)

async function append(catalogue: MemoryCatalogue, count: number): Promise<AgentEvent[]> {
  const events = Array.from({ length: count }, (): AgentEvent => ({
    type: 'command-reported',
    commandId: randomUUID(),
    state: 'accepted',
  }))
  for (const event of events) {
    await catalogue.transaction(async (tx) => await tx.outbox.append(event, new Date()), { signal })
  }
  return events
}

const kept = async (catalogue: MemoryCatalogue) =>
  (await catalogue.transaction(async (tx) => await tx.outbox.list({ after: 0, limit: 1000 }), { signal })).map(
    ({ sequence, event }) => ({ sequence, event }),
  )
const follow = async (catalogue: MemoryCatalogue, sequence: number) =>
  await followCloud(catalogue, sequence, { signal })
const sent = async (catalogue: MemoryCatalogue, sequence: number) =>
  await catalogue.transaction(async (tx) => await noteSent(tx, sequence), { signal })

test('a lost catalogue loses none of its events, also where it numbered past what the cloud has', async () => {
  const catalogue = createMemoryCatalogue()
  const events = await append(catalogue, 7)
  expect(await follow(catalogue, 5)).toBe(true)
  expect(await kept(catalogue)).toEqual(events.map((event, index) => ({ sequence: 6 + index, event })))
  expect(await follow(catalogue, 5)).toBe(false)
})

test('a catalogue that was set back sends what it numbered since, and not again what the cloud has', async () => {
  const catalogue = createMemoryCatalogue()
  await append(catalogue, 4)
  await sent(catalogue, 4)
  // Here the copy was made; its agent went on to number 6. Two more are numbered 5 and 6 again.
  const events = await append(catalogue, 2)
  expect(await follow(catalogue, 6)).toBe(true)
  expect(await kept(catalogue)).toEqual(events.map((event, index) => ({ sequence: 7 + index, event })))
})

test('what was sent and not acknowledged yet keeps its number', async () => {
  const catalogue = createMemoryCatalogue()
  await append(catalogue, 4)
  await sent(catalogue, 3)
  await sent(catalogue, 2)
  const before = await kept(catalogue)
  expect(await follow(catalogue, 3)).toBe(false)
  expect(await kept(catalogue)).toEqual(before)
})
