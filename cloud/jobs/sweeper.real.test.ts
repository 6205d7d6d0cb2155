import { createHash, randomUUID } from 'node:crypto'
import { eq } from 'drizzle-orm'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { command } from '../db/schema/fleet.ts'
import { job } from '../db/schema/protection.ts'
import { session } from '../db/schema/tenancy.ts'
import { quietLogger, startTestDatabase, type TestDatabase } from '../db/testing/test-database.ts'
import { createSessionService } from '../identity/session-service.ts'
import { createInProcessLiveBus } from '../live/live-bus.ts'
import { seedCustomer, type SeededCustomer, seedMsp, seedPerson } from '../testing/seed-tenant.ts'
import { startSweeper } from './sweeper.ts'

const HOUR_MS = 3_600_000
const hashOf = (id: string) => createHash('sha256').update(id).digest('hex')
let server: TestDatabase
let mspId: string
beforeAll(async () => {
  server = await startTestDatabase()
  mspId = await seedMsp(server.database, 'msp')
})
afterAll(async () => {
  await server?.[Symbol.asyncDispose]()
})

/** A backup that was ordered and whose command is in `state` and expires at `expiresAt`. */
async function orderedBackup(state: 'queued' | 'published' | 'accepted', expiresAt: Date): Promise<SeededCustomer> {
  const seeded = await seedCustomer(server.database, mspId, randomUUID())
  await server.database.withSystem('test', async (tx) => {
    await tx
      .update(command)
      .set({ state, expiresAt, type: 'backup-vm', jobId: seeded.jobId })
      .where(eq(command.id, seeded.commandId))
    await tx.update(job).set({ state: 'queued', revision: -1, endedAt: null }).where(eq(job.id, seeded.jobId))
  })
  return seeded
}

async function sweepAt(now: Date): Promise<string[]> {
  const nudged: string[] = []
  await using sweeper = startSweeper({
    database: server.database,
    live: createInProcessLiveBus(),
    deleteExpiredSessions: () => createSessionService(server.database, { secureCookie: false }).deleteExpired(),
    nudge: (agentId) => void nudged.push(agentId),
    now: () => now,
    logger: quietLogger,
  })
  await sweeper.sweep()
  return nudged
}

async function statesOf({ commandId, jobId }: SeededCustomer) {
  return await server.database.withSystem('test', async (tx) => {
    const [order] = await tx.select({ state: command.state }).from(command).where(eq(command.id, commandId))
    const [found] = await tx.select({ state: job.state, error: job.error }).from(job).where(eq(job.id, jobId))
    return { command: order?.state, job: found?.state, error: found?.error }
  })
}

test('an order nobody took in time expires, and its job says why; one that is still good waits', async () => {
  const now = new Date()
  const late = await orderedBackup('queued', new Date(now.getTime() - 1))
  const good = await orderedBackup('queued', new Date(now.getTime() + HOUR_MS))
  const nudged = await sweepAt(now)
  expect(await statesOf(late)).toMatchObject({ command: 'expired', job: 'failed', error: { code: 'command.expired' } })
  expect(await statesOf(good)).toEqual({ command: 'queued', job: 'queued', error: null })
  expect(nudged).toContain(good.agentId)
})

test('an order that was sent has some time more to be heard of; one that was accepted never expires', async () => {
  const now = new Date()
  const sent = await orderedBackup('published', new Date(now.getTime() - HOUR_MS / 10))
  const lost = await orderedBackup('published', new Date(now.getTime() - HOUR_MS))
  const accepted = await orderedBackup('accepted', new Date(now.getTime() - HOUR_MS))
  await sweepAt(now)
  expect(await statesOf(sent)).toMatchObject({ command: 'published', job: 'queued' })
  expect(await statesOf(lost)).toMatchObject({ command: 'expired', job: 'failed' })
  expect(await statesOf(accepted)).toMatchObject({ command: 'accepted', job: 'queued' })
})

test('sessions that ended are removed, others stay, and a week is the longest', async () => {
  const sessions = createSessionService(server.database, { secureCookie: true })
  const person = await seedPerson(server.database, mspId, { role: 'owner' })
  const alive = await sessions.create({ ...person, mspId })
  const idle = await sessions.create({ ...person, mspId })
  const old = await sessions.create({ ...person, mspId })
  await server.database.withSystem('test', async (tx) => {
    const past = new Date(Date.now() - 1000)
    await tx
      .update(session)
      .set({ expiresAt: past })
      .where(eq(session.idHash, hashOf(idle.sessionId)))
    const createdAt = new Date(Date.now() - 8 * 24 * HOUR_MS)
    await tx
      .update(session)
      .set({ createdAt })
      .where(eq(session.idHash, hashOf(old.sessionId)))
  })
  expect(await sessions.find(old.sessionId)).toBeUndefined()
  await sweepAt(new Date())
  const left = await server.database.withSystem('test', (tx) => tx.select({ idHash: session.idHash }).from(session))
  expect(left.map((row) => row.idHash)).not.toContain(hashOf(idle.sessionId))
  expect(await sessions.find(alive.sessionId)).toMatchObject({ role: 'owner', mspId })
  expect(sessions.cookie(alive.sessionId)).toMatch(/^__Host-sendense_session=\w+; HttpOnly; .*Secure$/)
})
