import { randomUUID } from 'node:crypto'
import type { AgentEvent, SyncRequest } from '@sendense/shared/contracts/agent-message.ts'
import { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { eq } from 'drizzle-orm'
import { beforeEach, expect, test } from 'vitest'
import { agent } from '../db/schema/fleet.ts'
import { alert } from '../db/schema/protection.ts'
import { quietLogger } from '../db/testing/test-database.ts'
import { useSeededFleet } from '../testing/seeded-fleet.ts'
import { batchOf, syncOf } from '../testing/test-agent.ts'
import { ingestEvents } from './event-ingestion.ts'
import { answerSync } from './sync-session.ts'

const fleet = useSeededFleet()
beforeEach(async () => {
  await fleet.database.withSystem('test', (tx) =>
    tx.update(agent).set({ eventHighMark: 400 }).where(eq(agent.id, fleet.own.agentId)),
  )
})

const answer = (some: Partial<SyncRequest>) =>
  answerSync(fleet.database, fleet.own.known, { ...syncOf(fleet.own.agentId), ...some }, new Date())
const sync = async (some: Partial<SyncRequest>) => (await answer(some)).answer.eventSequence

async function alerts() {
  const rows = await fleet.database.withSystem('test', (tx) =>
    tx.select().from(alert).where(eq(alert.agentId, fleet.own.agentId)),
  )
  return rows.map((row) => ErrorReport.parse(row.error)).filter((error) => error.code === 'agent.events_lost')
}

test('a cloud restored from an older copy goes on behind what the agent keeps no more, and says what is lost', async () => {
  expect(await sync({ eventLowestKept: 501, eventHighMark: 501 })).toBe(500)
  expect(await alerts()).toMatchObject([{ details: { firstLost: 401, lastLost: 500 } }])
  const error = { code: 'command.replayed', message: 'm', advice: 'a', details: {} }
  const event: AgentEvent = { type: 'alert-raised', alertId: randomUUID(), severity: 'warning', error }
  const options = { now: new Date(), logger: quietLogger }
  expect(
    (await ingestEvents(fleet.database, fleet.own.known, batchOf(fleet.own.agentId, 501, [event]), options)).sequence,
  ).toBe(501)
  expect(await sync({ eventLowestKept: 502, eventHighMark: 501 })).toBe(501)
  expect(await alerts()).toHaveLength(1)
})

test('the loss is told to those who look on', async () => {
  const { liveEvents } = await answer({ eventLowestKept: 501, eventHighMark: 500 })
  const alertId = expect.any(String) as string
  expect(liveEvents).toEqual([{ type: 'alert-raised', alertId, agentId: fleet.own.agentId, severity: 'critical' }])
})

test('also where the agent keeps nothing at all', async () => {
  expect(await sync({ eventLowestKept: 501, eventHighMark: 500 })).toBe(500)
  expect(await alerts()).toHaveLength(1)
})

test.each<[string, Partial<SyncRequest>]>([
  ['all that is missing is still kept', { eventLowestKept: 401, eventHighMark: 500 }],
  ['nothing is missing', { eventLowestKept: 401, eventHighMark: 400 }],
  ['the agent is behind', { eventLowestKept: 1, eventHighMark: 0 }],
  ['the agent contradicts itself', { eventLowestKept: 9_000_000, eventHighMark: 400 }],
])('the mark stays where %s', async (_what, some) => {
  expect(await sync(some)).toBe(400)
  expect(await alerts()).toEqual([])
})
