import { once } from 'node:events'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { NBD_FLAG_CAN_MULTI_CONN, NBD_FLAG_SEND_FUA } from '../wire/nbd-constants.ts'
import { openNbdConnection } from './nbd-connection.ts'
import { openNbdSink } from './nbd-sink.ts'
import { openNbdSource } from './nbd-source.ts'
import { makeTestDir, startNbdkit } from './real-nbd-server.ts'

const MIB = 1024 * 1024
const GIB = 1024 * MIB
const TIB = 1024 * GIB
const signal = AbortSignal.timeout(300_000)
const call = { signal }

/** What nbdkit's log filter wrote of one command, as `Write id=1 offset=0x0 count=0x200 fua=0`. */
async function logged(log: string, command: string): Promise<string[]> {
  const lines = (await readFile(log, 'utf8')).split('\n')
  return lines.flatMap((line) => {
    const found = new RegExp(` ${command} id=\\d+ (.*?) \\.\\.\\.`).exec(line)
    return found?.[1] === undefined ? [] : [found[1]]
  })
}

describe('nbdkit', () => {
  test('a disk of a few words and much nothing is read without reading the nothing', async () => {
    await using server = await startNbdkit(['data', 'data="words" @0x40000000 "far"', `size=${4 * TIB}`])
    await using source = await openNbdSource(server.endpoint, call)
    expect(source.sizeBytes).toBe(4 * TIB)
    const into = new Uint8Array(5)
    await source.read(0, into, call)
    expect(Buffer.from(into).toString()).toBe('words')
    await source.read(GIB - 1, into, call)
    expect(Buffer.from(into).toString()).toBe('\0far\0')
    const range = { offsetBytes: 0, lengthBytes: 2 * GIB }
    const extents = await Array.fromAsync(source.extents(range, call))
    const data = extents.filter(({ zero }) => !zero)
    expect(data.map(({ offsetBytes }) => offsetBytes)).toEqual([0, GIB])
    expect(extents.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)).toBe(2 * GIB)
  })

  test('a plugin that recovers behind the retry filter is read without an error', async () => {
    await using tmp = await makeTestDir()
    const trigger = join(tmp.dir, 'trigger')
    await writeFile(trigger, '')
    const filters = ['--filter=retry', '--filter=error']
    const settings = ['error-pread=EIO', 'error-pread-rate=100%', `error-file=${trigger}`, 'retry-delay=1']
    await using server = await startNbdkit([...filters, 'pattern', String(MIB), ...settings])
    await using source = await openNbdSource(server.endpoint, call)
    const into = Buffer.alloc(65_536)
    const reading = source.read(80, into, call)
    await rm(trigger)
    await reading
    expect([into.readBigUInt64BE(0), into.readBigUInt64BE(65_528)]).toEqual([80n, 65_608n])
  })

  test('a paused server is waited for, aborted readers are not held, and it goes on', async () => {
    await using tmp = await makeTestDir()
    const control = join(tmp.dir, 'control')
    await using server = await startNbdkit(['--filter=pause', 'pattern', String(MIB), `pause-control=${control}`])
    await using source = await openNbdSource(server.endpoint, call)
    await tell(control, 'p')
    const patient = new Uint8Array(4096)
    const waiting = source.read(8, patient, call)
    const abort = new AbortController()
    const impatient = source.read(0, new Uint8Array(4096), { signal: abort.signal })
    abort.abort(new Error('enough'))
    await expect(impatient).rejects.toThrow('enough')
    await tell(control, 'r')
    await waiting
    expect(patient[7]).toBe(8)
  })

  test('a paused server is nbd.timeout after the time given', async () => {
    await using tmp = await makeTestDir()
    const control = join(tmp.dir, 'control')
    await using server = await startNbdkit(['--filter=pause', 'pattern', String(MIB), `pause-control=${control}`])
    await using source = await openNbdSource(server.endpoint, { signal, idleTimeoutMs: 100 })
    await tell(control, 'p')
    await expect(source.read(0, new Uint8Array(512), call)).rejects.toMatchObject({ code: 'nbd.timeout' })
    await tell(control, 'r')
  })

  test.each([
    ['fuamode=native', true, ['offset=0x200 count=0x200 fua=1'], 0],
    ['fuamode=emulate', true, ['offset=0x200 count=0x200 fua=1'], 0],
    ['no FUA', false, ['offset=0x200 count=0x200 fua=0'], 1],
  ])('writes that must be durable, with %s', async (mode, isOffered, writes, flushes) => {
    await using tmp = await makeTestDir()
    const log = join(tmp.dir, 'log')
    const filters = ['--filter=log', '--filter=fua']
    const settings = [...(isOffered ? [mode] : []), `logfile=${log}`]
    await using server = await startNbdkit([...filters, 'memory', String(MIB), ...settings])
    await using connection = await openNbdConnection(server.endpoint, call)
    expect((connection.session.flags & NBD_FLAG_SEND_FUA) !== 0).toBe(isOffered)
    await using sink = await openNbdSink(server.endpoint, call)
    await sink.write(512, new Uint8Array(512).fill(1), { signal, fua: true })
    expect(await logged(log, 'Write')).toEqual(writes)
    expect((await readFile(log, 'utf8')).match(/ Flush id=/g) ?? []).toHaveLength(flushes)
  })

  test.each([
    ['memory that is quick', [], true],
    ['one that is slow and says so', ['--filter=nozero', 'zeromode=plugin', 'fastzeromode=slow'], false],
    ['one that knows nothing of it', ['--filter=nozero', 'zeromode=plugin', 'fastzeromode=none'], false],
  ])('zeros at once: %s', async (_, args, isFast) => {
    const [filters, settings] = [args.filter((arg) => arg.startsWith('-')), args.filter((arg) => !arg.startsWith('-'))]
    await using server = await startNbdkit([...filters, 'memory', String(GIB), ...settings])
    await using sink = await openNbdSink(server.endpoint, call)
    await sink.write(GIB - 100, new Uint8Array(100).fill(7), call)
    expect(await sink.zeroFast(0, GIB, call)).toBe(isFast)
    await sink.writeZeroes(0, GIB, { signal, noHole: true })
    await sink.flush(call)
    await using source = await openNbdSource(server.endpoint, call)
    const into = new Uint8Array(100).fill(1)
    await source.read(GIB - 100, into, call)
    expect(into.every((byte) => byte === 0)).toBe(true)
  })

  test('a hint to read ahead arrives where the server takes it', async () => {
    await using tmp = await makeTestDir()
    // The filter turns a hint into a read.
    for (const [mode, arrived] of [
      ['emulate', ['offset=0x1000 count=0x2000']],
      ['none', []],
    ] as const) {
      const log = join(tmp.dir, mode)
      const filters = ['--filter=log', '--filter=nocache']
      const settings = [`cachemode=${mode}`, `logfile=${log}`]
      await using server = await startNbdkit([...filters, 'memory', String(MIB), ...settings])
      await using source = await openNbdSource(server.endpoint, call)
      await source.cache({ offsetBytes: 4096, lengthBytes: 8192 }, call)
      expect(await logged(log, 'Read')).toEqual(arrived)
    }
  })

  test('a server that says that several connections are not safe is written over one', async () => {
    await using tmp = await makeTestDir()
    const log = join(tmp.dir, 'log')
    const filters = ['--filter=log', '--filter=multi-conn']
    const settings = ['multi-conn-mode=disable', `logfile=${log}`]
    await using server = await startNbdkit([...filters, 'memory', String(16 * MIB), ...settings])
    const endpoint = { ...server.endpoint, connections: 4, requestsInFlightMax: 1 }
    await using connection = await openNbdConnection(endpoint, call)
    expect(connection.session.flags & NBD_FLAG_CAN_MULTI_CONN).toBe(0)
    await using sink = await openNbdSink(endpoint, call)
    const writes = Array.from({ length: 16 }, async (_, index) => {
      await sink.write(index * MIB, new Uint8Array(MIB).fill(index), call)
    })
    await Promise.all(writes)
    await sink.flush(call)
    const lines = (await readFile(log, 'utf8')).split('\n').filter((line) => line.includes(' Write id='))
    expect(new Set(lines.map((line) => /connection=(\d+)/.exec(line)?.[1])).size).toBe(1)
  })

  test('servers from other times: without structured replies, without NO_ZEROES, and those that are too old', async () => {
    for (const option of ['--no-sr', '--mask-handshake=1']) {
      await using server = await startNbdkit([option, 'pattern', String(MIB)])
      await using source = await openNbdSource(server.endpoint, call)
      const into = Buffer.alloc(300_000)
      await source.read(80, into, call)
      expect([into.readBigUInt64BE(0), into.readBigUInt64BE(299_992)]).toEqual([80n, 300_072n])
    }
    for (const option of ['--mask-handshake=0', '--oldstyle']) {
      await using server = await startNbdkit([option, 'pattern', String(MIB)])
      const opening = openNbdSource(server.endpoint, call)
      await expect(opening).rejects.toMatchObject({ code: 'nbd.protocol_violation' })
    }
  })

  test('a plugin that refuses the export, and one that dies in the middle', async () => {
    const refusing = ['open=echo "EPERM not today" >&2; exit 1', 'get_size=echo 4096', 'pread=exit 1']
    await using stubborn = await startNbdkit(['eval', ...refusing])
    const opening = openNbdSource(stubborn.endpoint, { signal, connectTimeoutMs: 5000 })
    await expect(opening).rejects.toMatchObject({ code: expect.stringMatching(/^nbd\./) })
    const dying = ['get_size=echo 4096', 'pread=kill -9 $PPID; sleep 5']
    await using mortal = await startNbdkit(['eval', ...dying])
    await using source = await openNbdSource(mortal.endpoint, call)
    await expect(source.read(0, new Uint8Array(512), call)).rejects.toMatchObject({ code: 'nbd.disconnected' })
  })
})

/** One letter to the pause filter, and its answer. */
async function tell(control: string, letter: 'p' | 'r'): Promise<void> {
  const socket = connect(control)
  await once(socket, 'connect')
  socket.write(letter)
  const [answer] = (await once(socket, 'data')) as [Buffer]
  expect(answer.toString()).toBe(letter.toUpperCase())
  socket.destroy()
}
