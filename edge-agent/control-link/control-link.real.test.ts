import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { AgentEvent } from '@sendense/shared/contracts/agent-message.ts'
import { payloadTypes } from '@sendense/shared/contracts/signed-envelope.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { generateSigningKey, signEnvelope } from '@sendense/shared/runtime/signing.ts'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Catalogue } from '../catalog/catalogue.ts'
import { createMemoryCatalogue } from '../catalog/memory/memory-catalogue.ts'
import { type AgentIdentity, openAgentIdentity } from './agent-identity.ts'
import { ControlLink } from './control-link.ts'
import { ProgressBoard } from './progress-board.ts'
import { startTestFleet, type TestFleet } from './test-fleet.ts'

const signal = AbortSignal.timeout(110_000)
const logger = createLogger('test', 'silent')
let stateDir: string
let identity: AgentIdentity
let fleet: TestFleet
let catalogue: Catalogue
let commands: number
let stop: () => Promise<void>

beforeAll(async () => {
  stateDir = await mkdtemp(path.join(tmpdir(), 'sendense-state-'))
  identity = await openAgentIdentity(stateDir)
})
afterAll(async () => await rm(stateDir, { recursive: true, force: true }))
beforeEach(async () => {
  fleet = await startTestFleet(identity)
  catalogue = createMemoryCatalogue()
  commands = 0
  stop = async () => undefined
})
afterEach(async () => {
  await stop()
  await fleet[Symbol.asyncDispose]()
})

function startLink(bootEpoch = 1): void {
  const end = new AbortController()
  const link = new ControlLink({
    catalogue,
    identity,
    enrolment: fleet.enrolment,
    bootEpoch,
    agentVersion: '0.1.0',
    progress: new ProgressBoard(),
    clock: systemClock,
    logger,
    newId: randomUUID,
    onCommand: () => (commands += 1),
  })
  const ended = link.run({ signal: end.signal })
  stop = async () => {
    end.abort(new Error('end of the test'))
    await ended
  }
}

const anEvent = (): AgentEvent => ({ type: 'command-reported', commandId: randomUUID(), state: 'accepted' })

async function append(...events: AgentEvent[]): Promise<void> {
  for (const event of events) {
    await catalogue.transaction(async (tx) => await tx.outbox.append(event, new Date()), { signal })
  }
}

async function waiting(): Promise<number> {
  return (await catalogue.transaction(async (tx) => await tx.outbox.list({ after: 0, limit: 10_000 }), { signal }))
    .length
}

async function untilSent(): Promise<void> {
  const highMark = await catalogue.transaction(async (tx) => await tx.outbox.highMark(), { signal })
  await fleet.until('all events', () => fleet.highMark >= highMark)
  while ((await waiting()) > 0) await new Promise((resolve) => setTimeout(resolve, 10))
}

test('says hello, syncs, and sends every event once, in order, until it is acknowledged', async () => {
  const events = Array.from({ length: 450 }, anEvent)
  await append(...events)
  startLink(7)
  await untilSent()
  expect(fleet.events.map((entry) => entry.event)).toEqual(events)
  expect(fleet.batches.every((batch) => batch.events.length <= 200 && batch.bootEpoch === 7)).toBe(true)
  expect(fleet.syncs[0]).toMatchObject({ bootEpoch: 7, lastCommandSequence: 0, eventHighMark: 450 })
  expect(JSON.parse(fleet.hints.at(-1) ?? '')).toMatchObject({ state: 'online', bootEpoch: 7 })
  const more = anEvent()
  await append(more)
  await untilSent()
  expect(fleet.events.at(-1)).toEqual({ sequence: 451, event: more })
})

test('takes signed commands in; what is forged, bent or meant for others only raises an alert', async () => {
  startLink()
  await fleet.until('sync', () => fleet.syncs.length > 0)
  const first = fleet.order({ type: 'refresh-inventory' })
  await fleet.send(first)
  await fleet.until('the first command', () => commands === 1)

  const second = fleet.order({ type: 'refresh-inventory' })
  await fleet.sendRaw(JSON.stringify(signEnvelope(payloadTypes.cloudMessage, second, generateSigningKey())))
  const bent = fleet
    .sign(second)
    .replace(/"payload":"(.)/, (_all, letter: string) => `"payload":"${letter === 'e' ? 'f' : 'e'}`)
  await fleet.sendRaw(bent)
  await fleet.sendRaw('no envelope')
  await fleet.send({ ...second, agentId: randomUUID() })
  await fleet.send(second)
  await fleet.until('the second command', () => commands === 2)
  await untilSent()
  const codes = fleet.events.flatMap(({ event }) => (event.type === 'alert-raised' ? [event.error.code] : []))
  expect(new Set(codes)).toEqual(new Set(['command.signature_invalid', 'command.invalid', 'command.wrong_audience']))
  const accepted = fleet.events.flatMap(({ event }) => (event.type === 'command-reported' ? [event.commandId] : []))
  expect(accepted).toEqual([first.commandId, second.commandId])
})

test('behind a gap it asks the cloud again before it goes on', async () => {
  startLink()
  await fleet.until('sync', () => fleet.syncs.length > 0)
  const first = fleet.order({ type: 'refresh-inventory' })
  const second = fleet.order({ type: 'refresh-inventory' })
  await fleet.send(second)
  await fleet.until('another sync', () => fleet.syncs.length > 1)
  expect(commands).toBe(0)
  await fleet.send(first)
  await fleet.send(second)
  await fleet.until('both', () => commands === 2)
})

test('a broker that is away holds nothing up: events wait and arrive when it is back, commands too', async () => {
  startLink()
  await fleet.until('sync', () => fleet.syncs.length > 0)
  await fleet.stopBroker()
  const events = [anEvent(), anEvent()]
  await append(...events)
  expect(await waiting()).toBe(2)
  await fleet.startBroker()
  await untilSent()
  expect(fleet.events.map((entry) => entry.event)).toEqual(events)
  await fleet.send(fleet.order({ type: 'refresh-inventory' }))
  await fleet.until('the command', () => commands === 1)
})

test('a cloud that is away gets what it missed when it answers again', async () => {
  fleet.acknowledges = false
  startLink()
  const events = [anEvent(), anEvent()]
  await append(...events)
  await fleet.until('unheard events', () => fleet.batches.length > 0)
  expect(await waiting()).toBe(2)
  await stop()
  fleet.acknowledges = true
  startLink(2)
  await untilSent()
  expect(fleet.events.map((entry) => entry.event)).toEqual(events)
})

test('a catalogue that is younger than the cloud numbers on from what the cloud has', async () => {
  fleet.highMark = 5000
  const event = anEvent()
  await append(event)
  startLink()
  await untilSent()
  expect(fleet.events).toEqual([{ sequence: 5001, event }])
})

test('a catalogue that was lost or set back begins a boot epoch behind what the cloud knows, and is in sync then', async () => {
  fleet.newestSync = { bootEpoch: 9, syncSequence: 3 }
  const event = anEvent()
  await append(event)
  startLink(9)
  await untilSent()
  const numbers = fleet.syncs.map(({ bootEpoch, syncSequence }) => ({ bootEpoch, syncSequence }))
  expect(numbers.slice(0, 2)).toEqual([
    { bootEpoch: 9, syncSequence: 1 },
    { bootEpoch: 10, syncSequence: 1 },
  ])
  expect(fleet.batches.map((batch) => batch.bootEpoch)).toEqual([10])
  expect(await catalogue.transaction(async (tx) => await tx.settings.getNumber('boot-epoch'), { signal })).toBe(10)
  await fleet.send(fleet.order({ type: 'refresh-inventory' }))
  await fleet.until('the command', () => commands === 1)
})

test('also where it has numbered past what the cloud has: nothing is taken for acknowledged unsent', async () => {
  fleet.highMark = 3
  const events = [anEvent(), anEvent(), anEvent(), anEvent()]
  await append(...events)
  startLink()
  await untilSent()
  expect(fleet.events).toEqual(events.map((event, index) => ({ sequence: 4 + index, event })))
})

test('says goodbye when it is stopped', async () => {
  startLink()
  await fleet.until('sync', () => fleet.syncs.length > 0)
  await stop()
  await fleet.until('goodbye', () => fleet.hints.length > 1)
  expect(JSON.parse(fleet.hints.at(-1) ?? '')).toMatchObject({ state: 'offline', bootEpoch: 1 })
})
