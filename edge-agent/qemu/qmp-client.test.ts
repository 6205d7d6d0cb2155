import { expect, test } from 'vitest'
import { z } from 'zod'
import { QmpClient } from './qmp-client.ts'
import type { QmpEvent } from './qmp-connection.ts'
import { type LineHandler, TestLineServer } from './test-line-server.ts'

const options = { signal: AbortSignal.timeout(20_000) }
const GREETING = '{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}\r\n'

/** Answers `qmp_capabilities`, and gives all other commands to `handle`. */
async function openServer(handle: LineHandler): Promise<TestLineServer> {
  return await TestLineServer.open({
    greeting: GREETING,
    handle: (line, reply, socket) => {
      if (line.includes('qmp_capabilities')) reply(`{"return": {}, "id": ${idOf(line)}}\r\n`)
      else handle(line, reply, socket)
    },
  })
}

test('answers find their commands, whatever their order and pieces', async () => {
  const held: string[] = []
  await using server = await openServer((line, reply) => {
    held.push(line)
    if (held.length < 3) return
    for (const command of held.toReversed()) reply(`{"return": ${nameOf(command)}, "id": ${idOf(command)}}\n`)
  })
  await using client = await QmpClient.connect(server.path, options)
  const answers = ['1', '22', '333'].map(async (name) => await client.execute(name, {}, z.number(), options))
  expect(await Promise.all(answers)).toEqual([1, 22, 333])
})

test('a refusal is qemu.command_failed with its class and command', async () => {
  await using server = await openServer((line, reply) => {
    reply(`{"error": {"class": "GenericError", "desc": "no such node"}, "id": ${idOf(line)}}\n`)
  })
  await using client = await QmpClient.connect(server.path, options)
  await expect(client.execute('blockdev-del', {}, z.unknown(), options)).rejects.toMatchObject({
    code: 'qemu.command_failed',
    details: { class: 'GenericError', command: 'blockdev-del' },
  })
})

test('a vanished QEMU fails what is under way and what comes later', async () => {
  await using server = await openServer((_line, _reply, socket) => socket.destroy())
  await using client = await QmpClient.connect(server.path, options)
  const gone = expect.objectContaining({ code: 'qemu.disconnected' })
  const both = [client.execute('a', {}, z.unknown(), options), client.execute('b', {}, z.unknown(), options)]
  for (const result of await Promise.allSettled(both))
    expect(result).toMatchObject({ status: 'rejected', reason: gone })
  expect(client.closed.reason).toEqual(gone)
  await expect(client.execute('c', {}, z.unknown(), options)).rejects.toEqual(gone)
})

test('a command that is not answered ends with its deadline or its signal, and the next one works', async () => {
  await using server = await openServer((line, reply) => {
    if (nameOf(line) === 'slow') return
    reply(`{"return": {}, "id": ${idOf(line)}}\n`)
  })
  await using client = await QmpClient.connect(server.path, options)
  await expect(client.execute('slow', {}, z.unknown(), { ...options, timeoutMs: 20 })).rejects.toMatchObject({
    code: 'qemu.timeout',
  })
  const stop = new AbortController()
  const waiting = client.execute('slow', {}, z.unknown(), { signal: stop.signal })
  stop.abort(new Error('stopped'))
  await expect(waiting).rejects.toThrow('stopped')
  await expect(client.execute('quick', {}, z.unknown(), options)).resolves.toEqual({})
})

test('events reach subscribers until they leave', async () => {
  await using server = await openServer((line, reply) => {
    reply(`{"event": "STOP", "data": {"n": ${idOf(line)}}, "timestamp": {}}\n{"return": {}, "id": ${idOf(line)}}\n`)
  })
  await using client = await QmpClient.connect(server.path, options)
  const seen: QmpEvent[] = []
  const subscription = client.subscribe({ event: (event) => seen.push(event) })
  await client.execute('x', {}, z.unknown(), options)
  subscription[Symbol.dispose]()
  await client.execute('x', {}, z.unknown(), options)
  expect(seen).toEqual([{ name: 'STOP', data: { n: 2 } }])
})

test.each(['not JSON\n', '{"surprise": 1}\n', '[]\n'])('what is not QMP ends the connection: %j', async (text) => {
  await using server = await openServer((_line, reply) => reply(text))
  await using client = await QmpClient.connect(server.path, options)
  await expect(client.execute('x', {}, z.unknown(), options)).rejects.toMatchObject({
    code: 'source.protocol_violation',
  })
})

test('an answer of another shape is source.protocol_violation', async () => {
  await using server = await openServer((line, reply) => reply(`{"return": "text", "id": ${idOf(line)}}\n`))
  await using client = await QmpClient.connect(server.path, options)
  await expect(client.execute('x', {}, z.number(), options)).rejects.toMatchObject({
    code: 'source.protocol_violation',
  })
})

test('a monitor that another client holds gives no greeting: qemu.timeout', async () => {
  await using server = await TestLineServer.open({ handle: () => {} })
  await expect(QmpClient.connect(server.path, { ...options, timeoutMs: 20 })).rejects.toMatchObject({
    code: 'qemu.timeout',
  })
})

test('nobody there is qemu.disconnected', async () => {
  await expect(QmpClient.connect('/nonexistent/qmp.sock', options)).rejects.toMatchObject({ code: 'qemu.disconnected' })
})

function idOf(line: string): number {
  return z.object({ id: z.number() }).parse(JSON.parse(line)).id
}

function nameOf(line: string): string {
  return z.object({ execute: z.string() }).parse(JSON.parse(line)).execute
}
