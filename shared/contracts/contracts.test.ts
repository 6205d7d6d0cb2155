import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AgentCommand, commandClassOf, CommandPayload } from './agent-command.ts'
import { AgentMessage, isNewerSync } from './agent-message.ts'
import { CloudMessage } from './cloud-message.ts'
import { Instant, VmName } from './identifiers.ts'
import { parseTopic, topics } from './topics.ts'

const agentId = '0190a5e4-7a30-7c3e-9f5e-0123456789ab'

test('an instant is one that every database and every calendar has', () => {
  for (const text of ['1970-01-01T00:00:00.000Z', '2024-02-29T23:59:59.999Z', '9999-12-31T23:59:59.999Z']) {
    expect(Instant.parse(text)).toBe(text)
    expect(new Date(text).toISOString()).toBe(text)
  }
  const others = ['0000-01-01T00:00:00.000Z', '1969-12-31T23:59:59.999Z', '2026-02-29T00:00:00.000Z', '2026-01-01']
  for (const text of others) expect({ text, ok: Instant.safeParse(text).success }).toEqual({ text, ok: false })
})

describe('agent commands', () => {
  test('every command has its class', () => {
    const types = AgentCommand.options.map((option) => option.shape.type.value)
    expect(Object.keys(commandClassOf).toSorted()).toEqual(types.toSorted())
  })

  test('a field nobody knows is refused, so that no order is half understood', () => {
    const command = { type: 'cancel-job', jobId: agentId }
    expect(AgentCommand.safeParse(command).success).toBe(true)
    expect(AgentCommand.safeParse({ ...command, force: true }).success).toBe(false)
  })

  test('a payload needs a positive sequence', () => {
    const payload = {
      kind: 'command',
      version: 1,
      commandId: agentId,
      agentId,
      tenantId: agentId,
      sequence: 1,
      class: 'operate',
      issuedAt: '2026-01-01T00:00:00.000Z',
      notBefore: '2026-01-01T00:00:00.000Z',
      expiresAt: '2026-01-02T00:00:00.000Z',
      command: { type: 'cancel-job', jobId: agentId },
    }
    expect(CommandPayload.safeParse(payload).success).toBe(true)
    for (const sequence of [0, -1, 1.5, Number.NaN]) {
      expect(CommandPayload.safeParse({ ...payload, sequence }).success).toBe(false)
    }
  })
})

test('syncs are ordered by epoch, then by sequence, and none is newer than itself', () => {
  const number = fc.record({ bootEpoch: fc.integer({ min: 1, max: 3 }), syncSequence: fc.integer({ min: 0, max: 3 }) })
  fc.assert(
    fc.property(number, number, (one, other) => {
      const difference = one.bootEpoch * 10 + one.syncSequence - (other.bootEpoch * 10 + other.syncSequence)
      expect(isNewerSync(one, other)).toBe(difference > 0)
    }),
  )
})

test('arbitrary JSON is never taken for a message', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(AgentMessage.safeParse(value).success).toBe(false)
      expect(CloudMessage.safeParse(value).success).toBe(false)
    }),
  )
})

test('topics are read back as they were made, and nothing else is one', () => {
  expect(parseTopic(topics.commands(agentId))).toEqual({ agentId, channel: 'cmd' })
  expect(parseTopic(topics.events(agentId))).toEqual({ agentId, channel: 'evt' })
  expect(parseTopic(topics.realtime(agentId))).toEqual({ agentId, channel: 'rt' })
  expect(parseTopic(topics.presence(agentId))).toEqual({ agentId, channel: 'up' })
  for (const topic of ['sd/v1/a/+/evt', `sd/v1/a/${agentId}/evt/x`, `sd/v2/a/${agentId}/evt`, '']) {
    expect(parseTopic(topic)).toBeUndefined()
  }
})

test('a VM name never leaves its directory', () => {
  fc.assert(
    fc.property(fc.string(), (name) => {
      if (!VmName.safeParse(name).success) return
      expect(name).not.toContain('/')
      expect(name.startsWith('.')).toBe(false)
    }),
  )
  for (const name of ['..', '.', '../x', 'a/b', '', '-rf', 'a b']) expect(VmName.safeParse(name).success).toBe(false)
})
