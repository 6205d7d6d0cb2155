import type { SyncRequest } from '@sendense/shared/contracts/agent-message.ts'
import { eq } from 'drizzle-orm'
import { describe, expect, test } from 'vitest'
import { agent, command, commandOutbox } from '../db/schema/fleet.ts'
import { alert, job } from '../db/schema/protection.ts'
import { useSeededFleet } from '../testing/seeded-fleet.ts'
import { syncOf } from '../testing/test-agent.ts'
import { answerSync } from './sync-session.ts'

const fleet = useSeededFleet()

/** The newest that was taken in. It holds no command, so that the one there is still waits. */
const newest: Partial<SyncRequest> = {
  bootEpoch: 5,
  syncSequence: 10,
  agentVersion: '2.0.0',
  protocol: { min: 1, max: 2 },
  capabilities: ['new'],
}
const acceptedAt = new Date('2026-01-01T12:00:00.000Z')
const later = new Date('2026-01-02T12:00:00.000Z')

const sync = (some: Partial<SyncRequest>, now: Date) =>
  answerSync(fleet.database, fleet.own.known, { ...syncOf(fleet.own.agentId), ...some }, now)

/** Everything a sync can change. */
const stateOfAgent = () =>
  fleet.database.withSystem('test', async (tx) => ({
    agent: await tx.select().from(agent).where(eq(agent.id, fleet.own.agentId)),
    commands: await tx.select().from(command).where(eq(command.agentId, fleet.own.agentId)),
    outbox: await tx.select().from(commandOutbox).where(eq(commandOutbox.agentId, fleet.own.agentId)),
    jobs: await tx.select().from(job).where(eq(job.agentId, fleet.own.agentId)),
    alerts: await tx.select().from(alert).where(eq(alert.agentId, fleet.own.agentId)),
  }))

/** A job whose order the agent holds: a sync that does not list it would end it. */
async function runJob(): Promise<void> {
  await fleet.database.withSystem('test', async (tx) => {
    const running = { state: 'running' as const, revision: 1, endedAt: null, commandId: fleet.own.commandId }
    await tx.update(job).set(running).where(eq(job.id, fleet.own.jobId))
    await tx
      .update(command)
      .set({ type: 'backup-vm', jobId: fleet.own.jobId })
      .where(eq(command.id, fleet.own.commandId))
  })
}

describe.each<[string, Partial<SyncRequest>]>([
  ['the same sync again', { bootEpoch: 5, syncSequence: 10 }],
  ['an older one of the same epoch', { bootEpoch: 5, syncSequence: 9 }],
  ['one of an older epoch', { bootEpoch: 4, syncSequence: 11 }],
])('%s', (_what, number) => {
  test('changes nothing that is known of the agent, its commands and its jobs', async () => {
    await sync(newest, acceptedAt)
    await runJob()
    const before = await stateOfAgent()
    const tempting = { lastCommandSequence: 1, eventHighMark: 400, eventLowestKept: 401, agentVersion: '1.0.0' }
    const { isNew, liveEvents } = await sync({ ...number, ...tempting }, later)
    expect({ isNew, liveEvents }).toEqual({ isNew: false, liveEvents: [] })
    expect(await stateOfAgent()).toEqual(before)
    expect(before.agent[0]).toMatchObject({
      agentVersion: '2.0.0',
      lastSeenAt: acceptedAt,
      bootEpoch: 5,
      syncSequence: 10,
      commandSequenceHeld: 0,
    })
  })

  test('is answered all the same, with the newest that is known', async () => {
    await sync(newest, acceptedAt)
    const { answer } = await sync({ ...number, clock: '2026-01-01T00:00:00.000Z' }, later)
    expect(answer).toMatchObject({
      requestClock: '2026-01-01T00:00:00.000Z',
      eventSequence: 0,
      nextCommandSequence: 1,
      newestSync: { bootEpoch: 5, syncSequence: 10 },
    })
  })
})

describe.each<[string, Partial<SyncRequest>]>([
  ['the next one of the same epoch', { bootEpoch: 5, syncSequence: 11 }],
  ['the first one of a later epoch', { bootEpoch: 6, syncSequence: 1 }],
])('%s', (_what, number) => {
  test('is taken in, also where it tells less than the one before', async () => {
    await sync({ ...newest, lastCommandSequence: 1 }, acceptedAt)
    await runJob()
    const { isNew, answer, liveEvents } = await sync({ ...number, lastCommandSequence: 0 }, later)
    expect(isNew).toBe(true)
    expect(answer.newestSync).toEqual(number)
    expect(liveEvents).toEqual([])
    const [row] = (await stateOfAgent()).agent
    expect(row).toMatchObject({ ...number, agentVersion: '0.1.0', lastSeenAt: later, commandSequenceHeld: 0 })
  })
})

test('of two that arrive at the same moment the newer one stays, whichever is first', async () => {
  const numbers = Array.from({ length: 8 }, (_, index) => ({ bootEpoch: 1, syncSequence: index + 1 }))
  await Promise.all(
    numbers.toReversed().map((number) => sync({ ...number, lastCommandSequence: number.syncSequence }, acceptedAt)),
  )
  const [row] = (await stateOfAgent()).agent
  expect(row).toMatchObject({ bootEpoch: 1, syncSequence: 8, commandSequenceHeld: 8 })
})
