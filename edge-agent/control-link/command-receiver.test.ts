import { randomUUID } from 'node:crypto'
import {
  type AgentCommand,
  type CommandClass,
  type CommandPayload,
  commandClassOf,
} from '@sendense/shared/contracts/agent-command.ts'
import type { KeyDelegation } from '@sendense/shared/contracts/signed-envelope.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { beforeEach, describe, expect, test } from 'vitest'
import { createMemoryCatalogue, type MemoryCatalogue } from '../catalog/memory/memory-catalogue.ts'
import { AlertBook } from './alert-book.ts'
import { CommandReceiver } from './command-receiver.ts'
import { CorrectedClock } from './corrected-clock.ts'

const signal = AbortSignal.timeout(30_000)
const logger = createLogger('test', 'silent')
const now = new Date('2026-05-01T12:00:00.000Z')
const agentId = randomUUID()
const tenantId = randomUUID()
const jobId = randomUUID()

let catalogue: MemoryCatalogue
let corrected: CorrectedClock
let receiver: CommandReceiver
let nudges: number
beforeEach(() => {
  catalogue = createMemoryCatalogue()
  nudges = 0
  corrected = new CorrectedClock(clock)
  receiver = newReceiver()
  receiver.noteSynced(undefined)
})

const clock: Clock = { ...systemClock, now: () => now }

const onReceived = () => (nudges += 1)

function newReceiver(): CommandReceiver {
  const alerts = new AlertBook({ catalogue, clock, logger, newId: randomUUID })
  return new CommandReceiver({ catalogue, agentId, tenantId, clock: corrected, alerts, logger, onReceived })
}

function newCommand(some: Partial<CommandPayload> = {}): CommandPayload {
  return {
    kind: 'command',
    version: 1,
    commandId: randomUUID(),
    agentId,
    tenantId,
    sequence: 1,
    class: 'read',
    issuedAt: '2026-05-01T11:59:00.000Z',
    notBefore: '2026-05-01T11:59:00.000Z',
    expiresAt: '2026-05-01T13:00:00.000Z',
    command: { type: 'refresh-inventory' },
    ...some,
  }
}

function delegationOf(...classes: CommandClass[]): KeyDelegation {
  return { version: 1, keyId: 'k', publicKey: '', classes, notBefore: now.toISOString(), notAfter: now.toISOString() }
}

const online = delegationOf('read', 'operate')
const receive = async (payload: CommandPayload, delegation: KeyDelegation | undefined = online) =>
  await receiver.receive(payload, delegation, { signal })

async function events() {
  const entries = await catalogue.transaction(async (tx) => await tx.outbox.list({ after: 0, limit: 100 }), { signal })
  return entries.map((entry) => entry.event)
}

async function lastSequence() {
  return await catalogue.transaction(async (tx) => await tx.inbox.lastSequence(), { signal })
}

/** Codes of alerts, and of rejections with their commands. */
async function outcome() {
  const all = await events()
  return {
    alerts: all.flatMap((event) => (event.type === 'alert-raised' ? [event.error.code] : [])),
    rejected: all.flatMap((event) =>
      event.type === 'command-reported' && event.state === 'rejected' ? [event.error?.code] : [],
    ),
  }
}

test('a good command is durable, reported as accepted and announced', async () => {
  const payload = newCommand()
  expect(await receive(payload)).toBe('received')
  expect(nudges).toBe(1)
  expect(await events()).toEqual([{ type: 'command-reported', commandId: payload.commandId, state: 'accepted' }])
  const waiting = await catalogue.transaction(async (tx) => await tx.inbox.listReceived(10), { signal })
  expect(waiting.map((entry) => entry.payload)).toEqual([payload])
})

test('sent again it is taken once, silently', async () => {
  const payload = newCommand()
  await receive(payload)
  expect(await receive(payload)).toBe('repeated')
  expect(nudges).toBe(1)
  expect(await events()).toHaveLength(1)
})

describe('refused, reported and alerted; the number is used up', () => {
  const backup = {
    type: 'backup-vm',
    jobId: randomUUID(),
    vmId: randomUUID(),
    repositoryId: randomUUID(),
    mode: 'auto',
    quiesce: true,
  } as const
  test.each<[string, Partial<CommandPayload>, KeyDelegation]>([
    ['command.expired', { expiresAt: '2026-05-01T12:00:00.000Z' }, online],
    ['command.not_yet_valid', { notBefore: '2026-05-01T12:03:00.000Z' }, online],
    ['command.class_not_allowed', { class: 'operate' }, online],
    ['command.class_not_allowed', { class: 'operate', command: backup }, delegationOf('read')],
    ['command.class_not_allowed', { class: 'read', command: backup }, online],
  ])('%s', async (code, some, delegation) => {
    expect(await receive(newCommand(some), delegation)).toBe('refused')
    expect(await outcome()).toEqual({ alerts: [code], rejected: [code] })
    expect(await lastSequence()).toBe(1)
    expect(nudges).toBe(0)
    expect(await receive(newCommand({ sequence: 2 }))).toBe('received')
  })
})

test.each<[string, AgentCommand]>([
  ['vmId', { type: 'backup-vm', jobId, vmId: jobId, repositoryId: jobId, mode: 'auto', quiesce: true }],
  [
    'restorePointId',
    { type: 'restore-vm', jobId, restorePointId: jobId, repositoryId: jobId, newVmName: 'n', start: true },
  ],
  ['restorePointId', { type: 'verify-restore-point', jobId, restorePointId: jobId, repositoryId: jobId }],
  ['jobId', { type: 'cancel-job', jobId }],
])('an alert of a refused command names its %s; one for another agent only the command', async (fact, command) => {
  const payload = newCommand({ command, class: commandClassOf[command.type], expiresAt: '2026-05-01T12:00:00.000Z' })
  await receive(payload)
  await receive({ ...payload, agentId: randomUUID() })
  const details = (await events()).flatMap((event) => (event.type === 'alert-raised' ? [event.error.details] : []))
  const { commandId } = payload
  expect(details).toEqual([
    expect.objectContaining({ commandId, type: command.type, jobId, [fact]: jobId }) as object,
    { commandId },
  ])
})

test('old numbers under other ids, however many, are refused with one alert and fill no memory', async () => {
  await receive(newCommand())
  const before = (await events()).length
  for (let count = 0; count < 50; count++) expect(await receive(newCommand())).toBe('refused')
  expect(await outcome()).toEqual({ alerts: ['command.replayed'], rejected: [] })
  expect(await events()).toHaveLength(before + 1)
})

describe('not for us: only an alert, the number is not touched', () => {
  test.each<[string, Partial<CommandPayload>]>([
    ['another agent', { agentId: randomUUID() }],
    ['another tenant', { tenantId: randomUUID() }],
  ])('%s', async (_name, some) => {
    expect(await receive(newCommand(some))).toBe('foreign')
    expect(await outcome()).toEqual({ alerts: ['command.wrong_audience'], rejected: [] })
    expect(await lastSequence()).toBe(0)
  })
})

test('a command that only fills its number is rejected without an alert', async () => {
  const filler = newCommand({ expiresAt: '2026-05-01T11:59:00.000Z' })
  expect(await receive(filler)).toBe('refused')
  expect(await outcome()).toEqual({ alerts: [], rejected: ['command.expired'] })
})

test('before the first sync nothing is judged by a clock that may be wrong: it is left for the sync to bring', async () => {
  receiver = newReceiver()
  const early = newCommand({ notBefore: '2026-05-01T14:59:00.000Z', expiresAt: '2026-05-01T16:00:00.000Z' })
  expect(await receive(early)).toBe('gap')
  expect(await events()).toEqual([])
  expect(await lastSequence()).toBe(0)
  corrected.endRequest({ requestClock: corrected.beginRequest(), serverTime: '2026-05-01T15:00:00.000Z' })
  receiver.noteSynced(1)
  expect(await receive(early)).toBe('received')
})

describe('behind a gap', () => {
  test('nothing is taken until what is missing came, however often the cloud was asked', async () => {
    const [third, fourth] = [newCommand({ sequence: 3 }), newCommand({ sequence: 4 })]
    expect(await receive(newCommand())).toBe('received')
    expect(await receive(third)).toBe('gap')
    receiver.noteSynced(2)
    expect(await receive(fourth)).toBe('gap')
    expect(await receive(third)).toBe('gap')
    expect(await events()).toHaveLength(1)
    expect(await receive(newCommand({ sequence: 2 }))).toBe('received')
    expect(await receive(third)).toBe('received')
    expect(await receive(fourth)).toBe('received')
  })

  test('only numbers before the next one the cloud has are passed over', async () => {
    receiver.noteSynced(5)
    expect(await receive(newCommand({ sequence: 6 }))).toBe('gap')
    expect(await receive(newCommand({ sequence: 5 }))).toBe('received')
    expect(await receive(newCommand({ sequence: 7 }))).toBe('gap')
    receiver.noteSynced(undefined)
    expect(await receive(newCommand({ sequence: 7 }))).toBe('gap')
    expect(await receive(newCommand({ sequence: 6 }))).toBe('received')
  })
})

test('a thousand forged orders make one alert a minute', async () => {
  for (let count = 0; count < 20; count++) await receive(newCommand({ agentId: randomUUID() }))
  expect((await outcome()).alerts).toEqual(['command.wrong_audience'])
})

test('a database that is away takes nothing in', async () => {
  catalogue.unavailable = true
  await expect(receive(newCommand())).rejects.toMatchObject({ code: 'database.unavailable' })
})

test('no command of this version needs an approval the agent could not check', () => {
  expect(new Set(Object.values(commandClassOf))).toEqual(new Set(['read', 'operate']))
})
