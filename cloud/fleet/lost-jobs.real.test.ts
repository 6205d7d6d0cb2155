import { randomUUID } from 'node:crypto'
import { type AgentEvent, SYNC_JOBS_MAX, type SyncRequest } from '@sendense/shared/contracts/agent-message.ts'
import type { JobState } from '@sendense/shared/domain/job-state.ts'
import { eq } from 'drizzle-orm'
import { describe, expect, test } from 'vitest'
import { agent, command } from '../db/schema/fleet.ts'
import { job } from '../db/schema/protection.ts'
import { quietLogger } from '../db/testing/test-database.ts'
import { seedCustomer } from '../testing/seed-tenant.ts'
import { useSeededFleet } from '../testing/seeded-fleet.ts'
import { batchOf, syncOf } from '../testing/test-agent.ts'
import { ingestEvents } from './event-ingestion.ts'
import { answerSync } from './sync-session.ts'

const fleet = useSeededFleet()

/** The backup that command 1 ordered and of which events up to 7 told. */
async function ordered(state: JobState, revision = 3): Promise<void> {
  await fleet.database.withSystem('test', async (tx) => {
    await tx
      .update(job)
      .set({ state, revision, endedAt: null, commandId: fleet.own.commandId })
      .where(eq(job.id, fleet.own.jobId))
    await tx
      .update(command)
      .set({ state: 'running', type: 'backup-vm', jobId: fleet.own.jobId })
      .where(eq(command.id, fleet.own.commandId))
    await tx.update(agent).set({ eventHighMark: 7 }).where(eq(agent.id, fleet.own.agentId))
  })
}

const sync = async (some: Partial<SyncRequest>) =>
  await answerSync(
    fleet.database,
    fleet.own.known,
    { ...syncOf(fleet.own.agentId), eventHighMark: 7, ...some },
    new Date(),
  )

async function report(first: number, event: AgentEvent) {
  return await ingestEvents(fleet.database, fleet.own.known, batchOf(fleet.own.agentId, first, [event]), {
    now: new Date(),
    logger: quietLogger,
  })
}

function succeeded(revision: number): AgentEvent {
  const queuedAt = new Date().toISOString()
  const { jobId, vmId } = fleet.own
  return {
    type: 'job-reported',
    job: { jobId, kind: 'backup', state: 'succeeded', revision, vmId, queuedAt, attempt: 1, log: [] },
  }
}

async function found() {
  return await fleet.database.withSystem('test', async (tx) => {
    const [row] = await tx.select().from(job).where(eq(job.id, fleet.own.jobId))
    const [order] = await tx.select().from(command).where(eq(command.id, fleet.own.commandId))
    return { job: row?.state, error: row?.error, endedByCloud: row?.endedByCloud, command: order?.state }
  })
}

describe('an agent that holds the order and knows nothing of its job', () => {
  test.each(['queued', 'running', 'cancelling'] as const)('has lost it: %s ends', async (state) => {
    await ordered(state)
    const { liveEvents } = await sync({ lastCommandSequence: 1 })
    expect(liveEvents).toEqual([{ type: 'job-changed', jobId: fleet.own.jobId, vmId: fleet.own.vmId, state: 'failed' }])
    expect(await found()).toMatchObject({
      job: 'failed',
      error: { code: 'job.interrupted' },
      endedByCloud: true,
      command: 'unknown',
    })
    expect((await sync({ lastCommandSequence: 1 })).liveEvents).toEqual([])
  })

  test('is believed when it reports it after all', async () => {
    await ordered('running')
    await sync({ lastCommandSequence: 1 })
    await report(8, succeeded(4))
    expect(await found()).toMatchObject({ job: 'succeeded', endedByCloud: false, command: 'succeeded' })
  })
})

test.each<[string, () => Partial<SyncRequest>]>([
  ['the job is in flight', () => ({ jobsInFlight: [fleet.own.jobId] })],
  ['events are still to come', () => ({ eventHighMark: 8 })],
  ['the order is not held', () => ({ lastCommandSequence: 0 })],
  ['the list may be cut off', () => ({ jobsInFlight: Array.from({ length: SYNC_JOBS_MAX }, () => randomUUID()) })],
])('nothing is taken for lost where %s', async (_why, some) => {
  await ordered('running')
  expect((await sync({ lastCommandSequence: 1, ...some() })).liveEvents).toEqual([])
  expect(await found()).toMatchObject({ job: 'running', command: 'running' })
})

test('a job whose end was among events that are lost ends', async () => {
  await ordered('running')
  const { liveEvents } = await sync({ lastCommandSequence: 1, eventHighMark: 9, eventLowestKept: 10 })
  expect(liveEvents.map((event) => event.type)).toEqual(['alert-raised', 'job-changed'])
  expect(await found()).toMatchObject({ job: 'failed', command: 'unknown' })
})

test('jobs of other agents are not touched', async () => {
  const other = await seedCustomer(fleet.database, fleet.mspId, 'beside', fleet.own)
  await ordered('running')
  const request = { ...syncOf(other.agentId), lastCommandSequence: 1 }
  expect((await answerSync(fleet.database, other.known, request, new Date())).liveEvents).toEqual([])
  expect(await found()).toMatchObject({ job: 'running' })
})

test('an agent that lost the order runs it again, and its reports count from the first on', async () => {
  await ordered('running', 12)
  await sync({ lastCommandSequence: 0, eventHighMark: 0 })
  await report(8, succeeded(2))
  expect(await found()).toMatchObject({ job: 'succeeded', command: 'succeeded' })
})

test('a cancel that comes back because the agent has no such job ends the job', async () => {
  await ordered('running')
  const commandId = randomUUID()
  const { customerId, agentId, jobId } = fleet.own
  const now = new Date()
  const times = { issuedAt: now, notBefore: now, expiresAt: new Date(now.getTime() + 60_000) }
  await fleet.database.withSystem('test', (tx) =>
    tx.insert(command).values({
      mspId: fleet.mspId,
      customerId,
      id: commandId,
      agentId,
      sequence: 2,
      type: 'cancel-job',
      class: 'operate',
      body: { type: 'cancel-job', jobId },
      jobId,
      state: 'published',
      ...times,
    }),
  )
  const error = { code: 'job.not_found', message: 'no such job', advice: 'a', details: {} }
  const { liveEvents } = await report(8, { type: 'command-reported', commandId, state: 'failed', error })
  expect(liveEvents).toEqual([{ type: 'job-changed', jobId, vmId: fleet.own.vmId, state: 'cancelled' }])
  expect(await found()).toMatchObject({ job: 'cancelled', endedByCloud: true, command: 'unknown' })
})
