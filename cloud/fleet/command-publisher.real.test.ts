import { randomUUID } from 'node:crypto'
import { CommandPayload } from '@sendense/shared/contracts/agent-command.ts'
import { commandStates } from '@sendense/shared/domain/command-state.ts'
import { eq } from 'drizzle-orm'
import { expect, test } from 'vitest'
import { command, commandOutbox } from '../db/schema/fleet.ts'
import { orderCancel, type Ordered, orderVerify } from '../protection/job-orders.ts'
import { useSeededFleet } from '../testing/seeded-fleet.ts'
import { createCommandPublisher, type Publish } from './command-publisher.ts'

const fleet = useSeededFleet()

const now = () => new Date()
const orderer = () => ({ email: 'owner@example.com', now: now() })
// In clear: what the signature is worth has its own tests.
const publisher = () =>
  createCommandPublisher({
    database: fleet.database,
    signer: { sign: (message) => JSON.stringify(message) },
    now,
  })

const tenant = () => ({ mspId: fleet.mspId, customers: [fleet.own.customerId] })
const verify = () =>
  fleet.database.withTenant(tenant(), (tx) =>
    orderVerify(tx, { restorePointId: fleet.own.restorePointId, idempotencyKey: randomUUID() }, orderer()),
  )
const cancel = (jobId: string): Promise<Ordered> =>
  fleet.database.withTenant(tenant(), (tx) => orderCancel(tx, jobId, orderer()))

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
    await fleet.database.withSystem('test', (tx) =>
      tx.update(command).set({ state }).where(eq(command.id, fleet.own.commandId)),
    )
    const { sent, publish } = collected()
    await publisher().publishAfter(fleet.own.known, 0, publish)
    expect(sent.map(({ commandId }) => commandId)).toEqual([fleet.own.commandId])
    expect(sent.map(runsNothing)).toEqual([!['queued', 'published', 'accepted', 'running'].includes(state)])
  },
)

test('one that is cancelled after it was listed and before it was sent fills its number and runs nothing', async () => {
  const { jobId, agentId } = await verify()
  expect(agentId).toBe(fleet.own.agentId)
  let asked: string | undefined = 'nobody yet'
  const { sent, publish } = collected(async ({ sequence }) => {
    if (sequence === 1) asked = (await cancel(jobId)).agentId
  })
  await publisher().publishWaiting(fleet.own.known, publish)
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
  await publisher().publishWaiting(fleet.own.known, publish)
  expect(asked).toBe(fleet.own.agentId)
  const after = collected()
  await publisher().publishAfter(fleet.own.known, 2, after.publish)
  expect(after.sent.map((payload) => payload.command)).toEqual([{ type: 'cancel-job', jobId }])
})

test('one that the broker did not take is not noted as sent', async () => {
  const refused = publisher().publishWaiting(fleet.own.known, () => Promise.reject(new Error('the broker is gone')))
  await expect(refused).rejects.toThrow('the broker is gone')
  const [row] = await fleet.database.withSystem('test', (tx) =>
    tx.select().from(commandOutbox).where(eq(commandOutbox.commandId, fleet.own.commandId)),
  )
  expect(row).toMatchObject({ publishedAt: null, attempts: 0 })
  const { sent, publish } = collected()
  await publisher().publishWaiting(fleet.own.known, publish)
  expect(sent.length).toBe(1)
})
