import { randomUUID } from 'node:crypto'
import type { CommandPayload } from '@sendense/shared/contracts/agent-command.ts'
import type { AgentEvent } from '@sendense/shared/contracts/agent-message.ts'
import type { CloudMessage, EventAck, SyncAnswer } from '@sendense/shared/contracts/cloud-message.ts'
import { topics } from '@sendense/shared/contracts/topics.ts'
import { generateSigningKey } from '@sendense/shared/runtime/signing.ts'
import { eq } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { agent, agentEvent } from '../db/schema/fleet.ts'
import { callApi, logInAs } from '../testing/api-client.ts'
import {
  connectTestAgent,
  createTestIdentity,
  enrolmentRequestOf,
  enrolOverHttp,
  syncOf,
  type TestAgent,
} from '../testing/test-agent.ts'
import { startTestCloud, type TestCloud } from '../testing/test-cloud.ts'

let cloud: TestCloud
let token: string
beforeAll(async () => {
  cloud = await startTestCloud()
  token = await logInAs(cloud.origin, cloud.demo.ownerEmail, cloud.password)
})
afterAll(async () => {
  await cloud?.[Symbol.asyncDispose]()
})

const isAck = (message: CloudMessage): message is EventAck => message.kind === 'event-ack'
const isSyncAnswer = (message: CloudMessage): message is SyncAnswer => message.kind === 'sync-answer'
const isCommand = (message: CloudMessage): message is CommandPayload => message.kind === 'command'
const commandsOf = (of: TestAgent) => of.received.filter((message) => isCommand(message))

async function newToken(): Promise<string> {
  const { data } = await callApi(cloud.origin, 'agent.createEnrolmentToken', { siteId: cloud.demo.siteId }, { token })
  return (data as { token: string }).token
}

interface Machine {
  readonly vmId: string
  readonly repositoryId: string
}

function inventoryOf({ vmId, repositoryId }: Machine): AgentEvent {
  const takenAt = new Date().toISOString()
  return {
    type: 'inventory-reported',
    inventory: {
      takenAt,
      hostname: 'host-1',
      agentVersion: '0.1.0',
      vms: [
        {
          vmId,
          platform: 'kvm',
          platformRef: vmId,
          name: `vm-${vmId}`,
          powerState: 'running',
          guestAgent: true,
          memoryBytes: 1,
          cpuCount: 1,
          disks: [],
        },
      ],
      repositories: [
        { repositoryId, name: 'local', kind: 'qcow2-chain', location: '/r', state: 'ready', checkedAt: takenAt },
      ],
    },
  }
}

/** Enrolled, in sync, with one VM and one repository reported. */
async function joinedAgent() {
  const identity = await createTestIdentity()
  const answer = await enrolOverHttp(cloud.origin, enrolmentRequestOf(identity, await newToken()))
  const machine: Machine = { vmId: randomUUID(), repositoryId: randomUUID() }
  const connect = () => connectTestAgent(identity, answer, cloud.broker.url)
  const connected = await connect()
  await connected.sync(0)
  await connected.waitFor(isSyncAnswer)
  await connected.sendEvents(1, [inventoryOf(machine)])
  await connected.waitFor(isAck)
  return { identity, answer, machine, connect, connected }
}

const startBackup = (vmId: string) =>
  callApi(cloud.origin, 'job.startBackup', { vmId, idempotencyKey: randomUUID() }, { token })
const jobOf = async (jobId: unknown) =>
  (await callApi(cloud.origin, 'job.get', { jobId }, { token })).data as Record<string, unknown>

describe('enrolment', () => {
  test('a token works once; the same host may ask again and stays the same agent', async () => {
    const enrolmentToken = await newToken()
    const identity = await createTestIdentity()
    const request = enrolmentRequestOf(identity, enrolmentToken)
    const answers = await Promise.all([1, 2, 3].map(() => enrolOverHttp(cloud.origin, request)))
    expect(new Set(answers.map((answer) => answer.agentId)).size).toBe(1)
    const other = enrolmentRequestOf(await createTestIdentity(), enrolmentToken)
    await expect(enrolOverHttp(cloud.origin, other)).rejects.toThrow('enrolment.token_invalid')
  })

  test('unknown tokens, requests that were changed, and what is no request are refused', async () => {
    const request = enrolmentRequestOf(await createTestIdentity(), await newToken())
    const unknown = enrolmentRequestOf(await createTestIdentity(), 'sde_'.padEnd(40, 'x'))
    await expect(enrolOverHttp(cloud.origin, unknown)).rejects.toThrow('enrolment.token_invalid')
    const changed = { ...request, identityKey: generateSigningKey().publicKey }
    await expect(enrolOverHttp(cloud.origin, changed)).rejects.toThrow('enrolment.request_invalid')
    const future = { ...request, protocol: { min: 2, max: 3 } }
    await expect(enrolOverHttp(cloud.origin, future)).rejects.toThrow('enrolment.request_invalid')
    for (const body of ['', '{', '[]', 'x'.repeat(100_000)]) {
      const response = await fetch(`${cloud.origin}/fleet/enrol`, { method: 'POST', body })
      expect(response.status).toBe(400)
    }
    expect((await enrolOverHttp(cloud.origin, request)).siteName).toBe('Head office')
  })
})

describe('commands', () => {
  test('reach an agent that is there at once, signed and for it alone', async () => {
    const { connected, machine, answer } = await joinedAgent()
    await using agentThere = connected
    const started = await startBackup(machine.vmId)
    const order = await agentThere.waitFor(isCommand)
    expect(order).toMatchObject({
      agentId: answer.agentId,
      tenantId: cloud.demo.customerId,
      sequence: 1,
      class: 'operate',
    })
    expect(order.command).toMatchObject({ type: 'backup-vm', jobId: (started.data as { jobId: string }).jobId })
  })

  test('wait for an agent that is not there, and come in order without gaps when it syncs', async () => {
    const { connected, machine, connect, answer } = await joinedAgent()
    const { agentId } = answer
    const hint = { state: 'offline', bootEpoch: 1, at: new Date().toISOString() }
    await connected.publishRaw(topics.presence(agentId), JSON.stringify(hint))
    await presenceBecomes(agentId, 'offline')
    await connected[Symbol.asyncDispose]()
    const started = await startBackup(machine.vmId)
    expect(started.data).toMatchObject({ state: 'queued', commandState: 'queued' })
    for (let count = 0; count < 4; count += 1)
      await callApi(cloud.origin, 'agent.refreshInventory', { agentId }, { token })
    await using back = await connect()
    await back.sync(2)
    await back.waitFor((message): message is CommandPayload => isCommand(message) && message.sequence === 5)
    expect(
      commandsOf(back)
        .map((order) => order.sequence)
        .filter((sequence) => sequence > 2),
    ).toEqual([3, 4, 5])
    await back.sync(0)
    await back.waitFor((message): message is CommandPayload => isCommand(message) && message.sequence === 1)
  })

  test('cancelled before they were sent fill their number, expired, and run nothing', async () => {
    const { connected, machine, connect, answer } = await joinedAgent()
    const hint = { state: 'offline', bootEpoch: 1, at: new Date().toISOString() }
    await connected.publishRaw(topics.presence(answer.agentId), JSON.stringify(hint))
    await presenceBecomes(answer.agentId, 'offline')
    await connected[Symbol.asyncDispose]()
    const { jobId } = (await startBackup(machine.vmId)).data as { jobId: string }
    const cancelled = await callApi(cloud.origin, 'job.cancel', { jobId }, { token })
    expect(cancelled.data).toMatchObject({ state: 'cancelled', commandState: 'cancelled' })
    const again = await callApi(cloud.origin, 'job.cancel', { jobId }, { token })
    expect(again.report?.code).toBe('job.not_cancellable')
    await using back = await connect()
    await back.sync(0)
    const order = await back.waitFor(isCommand)
    expect(order.sequence).toBe(1)
    expect(Date.parse(order.expiresAt)).toBeLessThanOrEqual(Date.now())
    const next = await startBackup(machine.vmId)
    expect(next.status).toBe(200)
  })

  test('one that its agent has is cancelled by asking the agent', async () => {
    const { connected, machine } = await joinedAgent()
    await using agentThere = connected
    const { jobId } = (await startBackup(machine.vmId)).data as { jobId: string }
    await agentThere.waitFor(isCommand)
    const asked = await callApi(cloud.origin, 'job.cancel', { jobId }, { token })
    expect(asked.data).toMatchObject({ state: 'queued' })
    const order = await agentThere.waitFor(
      (message): message is CommandPayload => isCommand(message) && message.command.type === 'cancel-job',
    )
    expect(order.command).toEqual({ type: 'cancel-job', jobId })
  })
})

describe('messages of agents', () => {
  test('a job runs, shows its progress, ends and leaves a restore point', async () => {
    const { connected, machine, answer } = await joinedAgent()
    await using agentThere = connected
    const { jobId } = (await startBackup(machine.vmId)).data as { jobId: string }
    const order = await agentThere.waitFor(isCommand)
    const at = new Date().toISOString()
    const base = { jobId, kind: 'backup' as const, vmId: machine.vmId, queuedAt: at, attempt: 1, log: [] }
    await agentThere.sendEvents(2, [
      { type: 'command-reported', commandId: order.commandId, state: 'accepted' },
      { type: 'job-reported', job: { ...base, state: 'running', revision: 1, startedAt: at } },
    ])
    await agentThere.waitFor((message): message is EventAck => isAck(message) && message.sequence === 3)
    const progress = { jobId, phase: 'copy', sentence: 'Copying', doneBytes: 5, totalBytes: 10, bytesPerSecond: 1, at }
    const message = { kind: 'progress' as const, version: 1 as const, agentId: answer.agentId, jobs: [progress] }
    await agentThere.send(message, { topic: topics.realtime(answer.agentId) })
    await expect.poll(async () => (await jobOf(jobId))['progress']).toEqual(progress)
    expect(await jobOf(jobId)).toMatchObject({ state: 'running', commandState: 'running' })

    const restorePointId = randomUUID()
    await agentThere.sendEvents(4, [
      {
        type: 'restore-point-sealed',
        restorePoint: {
          restorePointId,
          vmId: machine.vmId,
          vmName: 'vm',
          repositoryId: machine.repositoryId,
          jobId,
          takenAt: at,
          sealedAt: at,
          consistency: 'filesystem',
          manifestHash: 'b'.repeat(64),
          disks: [
            {
              diskId: 'disk0',
              sizeBytes: 10,
              mode: 'full',
              reason: 'FULL_FIRST',
              readBytes: 10,
              writtenBytes: 8,
              zeroedBytes: 2,
              storedBytes: 9,
            },
          ],
        },
      },
      {
        type: 'job-reported',
        job: {
          ...base,
          state: 'succeeded',
          revision: 2,
          startedAt: at,
          endedAt: at,
          result: { kind: 'backup', restorePointId, readBytes: 10, storedBytes: 9 },
        },
      },
    ])
    await agentThere.waitFor((answered): answered is EventAck => isAck(answered) && answered.sequence === 5)
    expect(await jobOf(jobId)).toMatchObject({
      state: 'succeeded',
      commandState: 'succeeded',
      restorePointId,
      progress: null,
    })
    const vm = await callApi(cloud.origin, 'vm.get', { vmId: machine.vmId }, { token })
    expect(vm.data).toMatchObject({ restorePointCount: 1, lastRestorePointAt: at, runningJobId: null })
  })

  test('forged, re-addressed and borrowed messages have no effect and are not answered', async () => {
    const { connected, answer } = await joinedAgent()
    await using liar = connected
    const victim = await joinedAgent()
    await using victimThere = victim.connected
    const error = { code: 'internal.unexpected', message: 'm', advice: 'a', details: {} }
    const event: AgentEvent = { type: 'alert-raised', alertId: randomUUID(), severity: 'info', error }
    // Signed with a key the cloud does not know; with the name of the victim; and on the victim's topic.
    await liar.sendEvents(2, [event], { key: generateSigningKey() })
    await liar.send({ ...batchFor(victimThere.agentId, event) })
    await liar
      .send({ ...batchFor(victimThere.agentId, event) }, { topic: topics.events(victimThere.agentId) })
      .catch(() => undefined)
    await liar.publishRaw(topics.events(answer.agentId), 'no envelope at all')
    // Messages of one agent are taken in order: this answer comes after all of the above.
    liar.received.length = 0
    await liar.sync(0)
    expect((await liar.waitFor(isSyncAnswer)).eventSequence).toBe(1)
    expect(liar.received.filter((message) => isAck(message))).toEqual([])
    await liar.sendEvents(2, [event])
    await liar.waitFor((message): message is EventAck => isAck(message) && message.sequence === 2)
    const { database } = cloud.postgres
    const rows = await database.withSystem('test', (tx) =>
      tx.select().from(agentEvent).where(eq(agentEvent.agentId, victimThere.agentId)),
    )
    expect(rows.map((row) => row.sequence)).toEqual([1])
    const own = await database.withSystem('test', (tx) =>
      tx.select().from(agentEvent).where(eq(agentEvent.agentId, answer.agentId)),
    )
    expect(new Set(own.map((row) => row.sequence))).toEqual(new Set([1, 2]))
  })

  test('a sync that was kept and sent again does not bring its agent back to life', async () => {
    const { connected, answer, machine } = await joinedAgent()
    await using agentThere = connected
    const { agentId } = answer
    await startBackup(machine.vmId)
    const order = await agentThere.waitFor(isCommand)
    const kept = { ...syncOf(agentId), agentVersion: '0.0.9' }
    await agentThere.send(kept)
    await agentThere.send({ ...syncOf(agentId), agentVersion: '0.2.0', lastCommandSequence: order.sequence })
    const answers = () => agentThere.received.filter((message) => isSyncAnswer(message))
    await expect.poll(() => answers().length).toBe(3)
    const { database } = cloud.postgres
    const longAgo = new Date('2026-01-01T00:00:00.000Z')
    const rowOf = async () =>
      (await database.withSystem('test', (tx) => tx.select().from(agent).where(eq(agent.id, agentId))))[0]
    await database.withSystem('test', (tx) =>
      tx.update(agent).set({ lastSeenAt: longAgo }).where(eq(agent.id, agentId)),
    )
    agentThere.received.length = 0
    await agentThere.send(kept)
    expect((await agentThere.waitFor(isSyncAnswer)).requestClock).toBe(kept.clock)
    expect(await rowOf()).toMatchObject({
      lastSeenAt: longAgo,
      agentVersion: '0.2.0',
      commandSequenceHeld: order.sequence,
    })
    // Messages of one agent are taken in order: had the order been sent once more, it would be before this.
    await agentThere.sync(order.sequence)
    await expect.poll(() => answers().length).toBe(2)
    expect(commandsOf(agentThere)).toEqual([])
  })

  test('a revoked agent is not listened to', async () => {
    const identity = await createTestIdentity()
    const answer = await enrolOverHttp(cloud.origin, enrolmentRequestOf(identity, await newToken()))
    const { database } = cloud.postgres
    await database.withSystem('test', (tx) =>
      tx.update(agent).set({ revokedAt: new Date() }).where(eq(agent.id, answer.agentId)),
    )
    await using revoked = await connectTestAgent(identity, answer, cloud.broker.url)
    await revoked.sync(0)
    const other = await joinedAgent()
    await other.connected[Symbol.asyncDispose]()
    expect(revoked.received).toEqual([])
  })
})

describe('outages', () => {
  test('the broker goes and comes: commands wait and arrive', async () => {
    const { connected, machine } = await joinedAgent()
    await using agentThere = connected
    await cloud.broker.stop()
    await expect.poll(async () => (await health()).broker).toBe('disconnected')
    const started = await startBackup(machine.vmId)
    expect(started.data).toMatchObject({ state: 'queued', commandState: 'queued' })
    await cloud.broker.start()
    await expect.poll(async () => (await health()).broker, { timeout: 30_000 }).toBe('ok')
    await expect.poll(() => agentThere.isConnected(), { timeout: 10_000 }).toBe(true)
    await agentThere.sync(0)
    expect((await agentThere.waitFor(isCommand)).command.type).toBe('backup-vm')
  })

  test('the cloud restarts: what was acknowledged is there, and the rest is taken when sent again', async () => {
    const { connected, machine } = await joinedAgent()
    await using agentThere = connected
    await startBackup(machine.vmId)
    const order = await agentThere.waitFor(isCommand)
    await cloud.restart()
    await expect.poll(async () => (await health()).broker, { timeout: 30_000 }).toBe('ok')
    await agentThere.sendEvents(1, [
      inventoryOf(machine),
      { type: 'command-reported', commandId: order.commandId, state: 'accepted' },
    ])
    await agentThere.waitFor((message): message is EventAck => isAck(message) && message.sequence === 2)
    const jobs = await callApi(cloud.origin, 'job.list', { vmId: machine.vmId }, { token })
    expect(jobs.data).toMatchObject([{ commandState: 'accepted' }])
  })
})

function batchFor(agentId: string, event: AgentEvent) {
  const at = new Date().toISOString()
  return {
    kind: 'events' as const,
    version: 1 as const,
    agentId,
    bootEpoch: 1,
    sentAt: at,
    events: [{ sequence: 2, at, event }],
  }
}

async function health(): Promise<{ broker: string }> {
  return (await (await fetch(`${cloud.origin}/health`)).json()) as { broker: string }
}

async function presenceBecomes(agentId: string, presence: string): Promise<void> {
  await expect
    .poll(async () => {
      const { data } = await callApi(cloud.origin, 'agent.list', undefined, { token })
      return (data as { agentId: string; presence: string }[]).find((found) => found.agentId === agentId)?.presence
    })
    .toBe(presence)
}
