import type { Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { NbdEndpoint } from '../../block/block-endpoint.ts'
import {
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_ESHUTDOWN,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_SEND_FLUSH,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_STATE_ZERO,
} from '../wire/nbd-constants.ts'
import type { NbdReconnected } from './connection-group.ts'
import { openNbdSink } from './nbd-sink.ts'
import { openNbdSource } from './nbd-source.ts'
import { connectionsMax } from './open-connection-group.ts'
import { chunk, type ScriptedRequest, simpleReply, startScriptedServer, u32, u64 } from './scripted-nbd-server.ts'

const signal = AbortSignal.timeout(60_000)
const MIB = 1024 * 1024
const reconnect = { forMs: 60_000, attemptsMax: 20 }
/** Does not wait between attempts. */
const impatient = { signal, random: () => 0 }

/** Every byte of the disk tells its offset. */
function dataOf(request: ScriptedRequest): Buffer {
  const bytes = Buffer.from(Array.from({ length: request.lengthBytes }, (_, at) => (request.offsetBytes + at) % 251))
  return chunk(request.cookie, NBD_REPLY_TYPE_OFFSET_DATA, Buffer.concat([u64(BigInt(request.offsetBytes)), bytes]))
}

function expectOffsets(bytes: Uint8Array, offsetBytes: number): void {
  expect(bytes.every((byte, at) => byte === (offsetBytes + at) % 251)).toBe(true)
}

describe('a source whose connection is lost', () => {
  test('asks again for all that was in flight, wherever the server stopped', async () => {
    const events: NbdReconnected[] = []
    await using server = await startScriptedServer((index) => {
      let answered = 0
      return {
        onRequest: (request: ScriptedRequest, socket: Socket) => {
          answered += 1
          if (answered < 4 || index === 6) {
            socket.write(dataOf(request))
          } else if (answered === 4) {
            socket.write(dataOf(request).subarray(0, 5 + 60 * index), () => socket.destroy())
          }
        },
      }
    })
    const options = { ...impatient, onReconnect: (event: NbdReconnected) => void events.push(event) }
    await using source = await openNbdSource({ ...server.endpoint, reconnect }, options)
    const reads = Array.from({ length: 40 }, (_, index) => ({ at: index * 512, into: new Uint8Array(512) }))
    await Promise.all(reads.map(async ({ at, into }) => await source.read(at, into, { signal })))
    for (const { at, into } of reads) expectOffsets(into, at)
    expect(events).toHaveLength(6)
    expect(server.connectionCount).toBe(7)
    expect(events[0]).toMatchObject({ attempts: 1, cause: { code: 'nbd.disconnected' } })
  })

  test('goes on where the server was silent, and where it said that it shuts down', async () => {
    const events: NbdReconnected[] = []
    await using server = await startScriptedServer((index) => ({
      onRequest: (request: ScriptedRequest, socket: Socket) => {
        if (index === 0) return
        if (index === 1) socket.write(simpleReply(request.cookie, NBD_ESHUTDOWN))
        else socket.write(dataOf(request))
      },
    }))
    const options = { ...impatient, idleTimeoutMs: 50, onReconnect: (event: NbdReconnected) => void events.push(event) }
    await using source = await openNbdSource({ ...server.endpoint, reconnect }, options)
    const into = new Uint8Array(4096)
    await source.read(1000, into, { signal })
    expectOffsets(into, 1000)
    expect(events.map(({ attempts, cause }) => [attempts, cause.code])).toEqual([
      [1, 'nbd.timeout'],
      [2, 'nbd.timeout'],
    ])
    expect(server.connectionCount).toBe(3)
  })

  test('goes on with extents too, under the ids of the new connection', async () => {
    const contexts = ['base:allocation', 'qemu:dirty-bitmap:b']
    await using server = await startScriptedServer((index) => ({
      contexts: index === 0 ? contexts : contexts.toReversed(),
      onRequest: ({ cookie, lengthBytes }: ScriptedRequest, socket: Socket) => {
        if (index === 0) {
          socket.destroy()
          return
        }
        const dirty = Buffer.concat([u32(1), u32(lengthBytes), u32(0)])
        const zero = Buffer.concat([u32(2), u32(lengthBytes), u32(NBD_STATE_ZERO)])
        socket.write(chunk(cookie, NBD_REPLY_TYPE_BLOCK_STATUS, dirty, 0))
        socket.write(chunk(cookie, NBD_REPLY_TYPE_BLOCK_STATUS, zero))
      },
    }))
    const endpoint = { ...server.endpoint, dirtyContext: 'qemu:dirty-bitmap:b', reconnect }
    await using source = await openNbdSource(endpoint, impatient)
    const extents = await Array.fromAsync(source.extents({ offsetBytes: 0, lengthBytes: 4096 }, { signal }))
    expect(extents).toEqual([{ offsetBytes: 0, lengthBytes: 4096, zero: true, dirty: false }])
  })

  test('does not go on with another disk', async () => {
    await using server = await startScriptedServer((index) => ({
      sizeBytes: MIB * (index + 1),
      onRequest: (_: ScriptedRequest, socket: Socket) => void socket.destroy(),
    }))
    await using source = await openNbdSource({ ...server.endpoint, reconnect }, impatient)
    const reading = source.read(0, new Uint8Array(512), { signal })
    await expect(reading).rejects.toMatchObject({ code: 'nbd.export_changed' })
  })

  test('over a unix socket is told at once, unless the endpoint says otherwise', async () => {
    await using server = await startScriptedServer({ onRequest: (_, socket) => void socket.destroy() })
    await using source = await openNbdSource(server.endpoint, impatient)
    const reading = source.read(0, new Uint8Array(512), { signal })
    await expect(reading).rejects.toMatchObject({ code: 'nbd.disconnected' })
    expect(server.connectionCount).toBe(1)
  })
})

describe('a sink whose connection is lost', () => {
  test('never goes on silently after writes that were not flushed', async () => {
    const flushed: number[] = []
    await using server = await startScriptedServer((index) => ({
      onRequest: ({ command, cookie }: ScriptedRequest, socket: Socket) => {
        if (command === NBD_CMD_FLUSH) flushed.push(index)
        socket.write(simpleReply(cookie, 0))
      },
    }))
    await using sink = await openNbdSink({ ...server.endpoint, reconnect }, impatient)
    await sink.write(0, new Uint8Array(512), { signal })
    await sink.flush({ signal })
    server.cut()
    await sink.flush({ signal })
    expect(server.connectionCount).toBe(2)
    await sink.write(512, new Uint8Array(512), { signal })
    server.cut()
    await expect(sink.flush({ signal })).rejects.toMatchObject({ code: 'nbd.writes_uncertain' })
    await expect(sink.write(0, new Uint8Array(512), { signal })).rejects.toMatchObject({ code: 'nbd.writes_uncertain' })
    expect(flushed).toEqual([0, 1])
    expect(server.connectionCount).toBe(3)
  })

  test('of a server that cannot flush is never sure of what it wrote', async () => {
    await using server = await startScriptedServer({
      flags: NBD_FLAG_HAS_FLAGS,
      onRequest: ({ cookie }, socket) => void socket.write(simpleReply(cookie, 0)),
    })
    await using sink = await openNbdSink({ ...server.endpoint, reconnect }, impatient)
    await sink.write(0, new Uint8Array(512), { signal })
    await sink.flush({ signal })
    server.cut()
    await expect(sink.write(0, new Uint8Array(512), { signal })).rejects.toMatchObject({ code: 'nbd.writes_uncertain' })
  })
})

describe('several connections', () => {
  test('are opened as they are needed, and carry requests at once', async () => {
    const held: (() => void)[] = []
    const perConnection: number[] = []
    await using server = await startScriptedServer((index) => ({
      flags: NBD_FLAG_HAS_FLAGS | NBD_FLAG_CAN_MULTI_CONN,
      onRequest: (request: ScriptedRequest, socket: Socket) => {
        if (request.command === NBD_CMD_READ) perConnection[index] = (perConnection[index] ?? 0) + 1
        held.push(() => socket.write(dataOf(request)))
        if (perConnection.length === 3) for (const answer of held.splice(0)) answer()
      },
    }))
    const endpoint = { ...server.endpoint, connections: 3, requestsInFlightMax: 2 }
    await using source = await openNbdSource(endpoint, impatient)
    const reads = Array.from({ length: 60 }, async (_, index) => {
      const into = new Uint8Array(512)
      await source.read(index * 512, into, { signal })
      expectOffsets(into, index * 512)
      // More requests come while others wait: only then a second connection is worth its handshake.
      await source.read(index * 512, into, { signal })
    })
    await Promise.all(reads)
    expect(server.connectionCount).toBe(3)
    expect(Math.min(...perConnection)).toBeGreaterThan(0)
  })

  test.each([
    [{}, NBD_FLAG_CAN_MULTI_CONN, 2000, true, 4],
    [{}, NBD_FLAG_CAN_MULTI_CONN, 2000, false, 4],
    [{}, NBD_FLAG_CAN_MULTI_CONN, 300, false, 2],
    [{}, NBD_FLAG_CAN_MULTI_CONN, 0, false, 1],
    [{}, 0, 2000, false, 1],
    [{}, 0, 2000, true, 1],
    [{ connections: 8 }, NBD_FLAG_CAN_MULTI_CONN, 10, true, 8],
    [{ connections: 8 }, 0, 10, false, 8],
    [{ connections: 8 }, 0, 10, true, 1],
    [{ connections: 1 }, NBD_FLAG_CAN_MULTI_CONN, 2000, false, 1],
  ])('%j with flags %i on %i MiB, written %s: at most %i', (endpoint, flags, mib, isWritten, expected) => {
    const session = { flags: NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | flags, sizeBytes: mib * MIB }
    expect(connectionsMax(endpoint, session, isWritten)).toBe(expected)
  })

  test('and the other settings are bounded', () => {
    const endpoint = { kind: 'nbd', address: { transport: 'tcp', host: 'h', port: 1 }, exportName: '' }
    const good = { connections: 16, requestsInFlightMax: 256, reconnect: { forMs: 1, attemptsMax: 1 } }
    expect(NbdEndpoint.safeParse({ ...endpoint, ...good }).success).toBe(true)
    const bad = [{ connections: 0 }, { connections: 17 }, { requestsInFlightMax: 0 }, { reconnect: { forMs: 1 } }]
    for (const setting of bad) expect(NbdEndpoint.safeParse({ ...endpoint, ...setting }).success).toBe(false)
  })
})
