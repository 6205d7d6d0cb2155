import type { CloudMessage } from '@sendense/shared/contracts/cloud-message.ts'
import { and, eq } from 'drizzle-orm'
import { beforeEach, expect, test } from 'vitest'
import { command } from '../db/schema/fleet.ts'
import { useSeededFleet } from '../testing/seeded-fleet.ts'
import { syncOf } from '../testing/test-agent.ts'
import { tenantOf } from './agent-directory.ts'
import { createCommandPublisher } from './command-publisher.ts'
import { enqueueCommand } from './command-queue.ts'
import { answerSync } from './sync-session.ts'

const fleet = useSeededFleet()
let now: Date
beforeEach(async () => {
  now = new Date()
})

/** Command 1 is there already. */
async function order(count = 1): Promise<void> {
  const body = { type: 'refresh-inventory' } as const
  for (let ordered = 0; ordered < count; ordered += 1) {
    await fleet.database.withTenant(tenantOf(fleet.own.known), (tx) =>
      enqueueCommand(tx, { agentId: fleet.own.agentId, body, now }),
    )
  }
}

/** The numbers one nudge brings on the wire, in order. */
async function nudge(): Promise<number[]> {
  const sent: CloudMessage[] = []
  const signer = { sign: (message: CloudMessage) => String(sent.push(message)) }
  const publisher = createCommandPublisher({ database: fleet.database, signer, now: () => now })
  await publisher.publishWaiting(fleet.own.known, async () => undefined)
  return sent.map((message) => (message.kind === 'command' ? message.sequence : 0))
}

test('an order brings those before it that nothing was heard of again: one of them may be lost', async () => {
  expect(await nudge()).toEqual([1])
  expect(await nudge()).toEqual([])
  await order(2)
  expect(await nudge()).toEqual([1, 2, 3])
  now = new Date(now.getTime() + 59_000)
  expect(await nudge()).toEqual([])
  now = new Date(now.getTime() + 2000)
  expect(await nudge()).toEqual([1, 2, 3])
})

test('what the agent holds is not sent again', async () => {
  await order(2)
  await nudge()
  await answerSync(fleet.database, fleet.own.known, { ...syncOf(fleet.own.agentId), lastCommandSequence: 2 }, now)
  await order()
  expect(await nudge()).toEqual([3, 4])
})

test('more than one round of them all arrive, in order', async () => {
  await order(249)
  expect(await nudge()).toEqual(Array.from({ length: 250 }, (_, index) => index + 1))
})

test('a sync names the next number that is there, also behind numbers that are gone', async () => {
  await order(3)
  const next = async (lastCommandSequence: number) => {
    const request = { ...syncOf(fleet.own.agentId), lastCommandSequence }
    return (await answerSync(fleet.database, fleet.own.known, request, now)).answer.nextCommandSequence
  }
  expect(await next(0)).toBe(1)
  expect(await next(2)).toBe(3)
  expect(await next(4)).toBe(undefined)
  await fleet.database.withSystem('test', (tx) =>
    tx.delete(command).where(and(eq(command.agentId, fleet.own.agentId), eq(command.sequence, 2))),
  )
  expect(await next(1)).toBe(3)
})
