import { randomUUID } from 'node:crypto'
import { CommandPayload } from '@sendense/shared/contracts/agent-command.ts'
import { commandStates } from '@sendense/shared/domain/command-state.ts'
import { eq } from 'drizzle-orm'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { command, commandOutbox } from '../db/schema/fleet.ts'
import { startTestDatabase, type TestDatabase } from '../db/testing/test-database.ts'
import { orderCancel, type Ordered, orderVerify } from '../protection/job-orders.ts'
import { seedCustomer, type SeededCustomer, seedMsp } from '../testing/seed-tenant.ts'
import { createCommandPublisher, type Publish } from './command-publisher.ts'

let server: TestDatabase
let mspId: string
let own: SeededCustomer
beforeAll(async () => {
  server = await startTestDatabase()
  mspId = await seedMsp(server.database, 'msp')
})
afterAll(async () => {
  await server?.[Symbol.asyncDispose]()
})
beforeEach(async () => {
  own = await seedCustomer(server.database, mspId, randomUUID())
})

const now = () => new Date()
const orderer = () => ({ email: 'owner@example.com', now: now() })
// In clear: what the signature is worth has its own tests.
const publisher = () =>
  createCommandPublisher({
    database: server.database,
    signer: { sign: (message) => JSON.stringify(message) },
    now,
  })

const tenant = () => ({ mspId, customers: [own.customerId] })
const verify = () =>
  server.database.withTenant(tenant(), (tx) =>
    orderVerify(tx, { restorePointId: own.restorePointId, idempotencyKey: randomUUID() }, orderer()),
  )
const cancel = (jobId: string): Promise<Ordered> =>
  server.database.withTenant(tenant(), (tx) => orderCancel(tx, jobId, orderer()))

function collected(onPublish: (payload: CommandPayload) => Promise<unknown> = () => Promise.resolve()) {
  const sent: CommandPayload[] = []
  const publish: Publish = async (_topic, text) => {
    const payload = CommandPayload.parse(JSON.parse(text))
    sent.push(payload)
    await onPublish(payload)
  }
  return { sent, publish }
}

const runsNothing = ({ issuedAt, expiresAt }: CommandPayload) => issuedAt === expiresAt

test.each(commandStates.map((state) => [state]))(
  'an agent that lost its memory and asks for a command that is %s runs it only where it is not over',
  async (state) => {
    await server.database.withSystem('test', (tx) =>
      tx.update(command).set({ state }).where(eq(command.id, own.commandId)),
    )
    const { sent, publish } = collected()
    await publisher().publishAfter(own.known, 0, publish)
    expect(sent.map(({ commandId }) => commandId)).toEqual([own.commandId])
    expect(sent.map(runsNothing)).toEqual([!['queued', 'published', 'accepted', 'running'].includes(state)])
  },
)

test('one that is cancelled after it was listed and before it was sent fills its number and runs nothing', async () => {
  const { jobId, agentId } = await verify()
  expect(agentId).toBe(own.agentId)
  let asked: string | undefined = 'nobody yet'
  const { sent, publish } = collected(async ({ sequence }) => {
    if (sequence === 1) asked = (await cancel(jobId)).agentId
  })
  await publisher().publishWaiting(own.known, publish)
  expect(asked).toBeUndefined()
  expect(sent.map((payload) => [payload.sequence, runsNothing(payload)])).toEqual([
    [1, false],
    [2, true],
  ])
})

test('one that is cancelled while it is being sent is cancelled by asking the agent', async () => {
  const { jobId } = await verify()
  let asked: string | undefined
  const { publish } = collected(async ({ command: { type } }) => {
    if (type === 'verify-restore-point') asked = (await cancel(jobId)).agentId
  })
  await publisher().publishWaiting(own.known, publish)
  expect(asked).toBe(own.agentId)
  const after = collected()
  await publisher().publishAfter(own.known, 2, after.publish)
  expect(after.sent.map((payload) => payload.command)).toEqual([{ type: 'cancel-job', jobId }])
})

test('one that the broker did not take is not noted as sent', async () => {
  const refused = publisher().publishWaiting(own.known, () => Promise.reject(new Error('the broker is gone')))
  await expect(refused).rejects.toThrow('the broker is gone')
  const [row] = await server.database.withSystem('test', (tx) =>
    tx.select().from(commandOutbox).where(eq(commandOutbox.commandId, own.commandId)),
  )
  expect(row).toMatchObject({ publishedAt: null, attempts: 0 })
  const { sent, publish } = collected()
  await publisher().publishWaiting(own.known, publish)
  expect(sent.length).toBe(1)
})
