import type { Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import {
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_EIO,
  NBD_ENOSPC,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
} from '../wire/nbd-constants.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import { openNbdConnection } from './nbd-connection.ts'
import { openNbdSink } from './nbd-sink.ts'
import { openNbdSource } from './nbd-source.ts'
import { chunk, type ScriptedRequest, simpleReply, startScriptedServer, u16, u32, u64 } from './scripted-nbd-server.ts'

const signal = AbortSignal.timeout(60_000)
type Answer = (request: ScriptedRequest) => Buffer

function data(request: ScriptedRequest, start: number, bytes: Buffer, flags?: number): Buffer {
  const payload = Buffer.concat([u64(BigInt(request.offsetBytes + start)), bytes])
  return chunk(request.cookie, NBD_REPLY_TYPE_OFFSET_DATA, payload, flags)
}

function hole(request: ScriptedRequest, start: number, lengthBytes: number, flags?: number): Buffer {
  const payload = Buffer.concat([u64(BigInt(request.offsetBytes + start)), u32(lengthBytes)])
  return chunk(request.cookie, NBD_REPLY_TYPE_OFFSET_HOLE, payload, flags)
}

async function startAnswering(answer: Answer, options: { replyStyle?: ReplyStyle } = {}) {
  const onRequest = (request: ScriptedRequest, socket: Socket): void => {
    socket.write(answer(request))
  }
  return await startScriptedServer({ ...options, contexts: ['base:allocation'], onRequest })
}

const brokenReplies: Record<string, Answer> = {
  'a wrong magic': () => Buffer.alloc(20, 5),
  'an unknown cookie': ({ cookie }) => simpleReply(cookie + 1n, 0),
  'a simple reply with data to a read': ({ cookie }) => simpleReply(cookie, 0, Buffer.alloc(512)),
  'a chunk of unknown type': ({ cookie }) => chunk(cookie, 77, Buffer.alloc(4)),
  'reserved flags': ({ cookie }) => chunk(cookie, NBD_REPLY_TYPE_NONE, Buffer.alloc(0), 3),
  'data before the range': (request) => data(request, -1, Buffer.alloc(512)),
  'data beyond the range': (request) => data(request, 0, Buffer.alloc(513)),
  'data without any': ({ cookie }) => chunk(cookie, NBD_REPLY_TYPE_OFFSET_DATA, u64(0n)),
  'only part of the data': (request) => data(request, 0, Buffer.alloc(511)),
  'nothing at all': ({ cookie }) => chunk(cookie, NBD_REPLY_TYPE_NONE, Buffer.alloc(0)),
  'the same data twice': (request) =>
    Buffer.concat([data(request, 0, Buffer.alloc(512), 0), data(request, 0, Buffer.alloc(512))]),
  'a hole beyond the range': (request) => hole(request, 0, 2 ** 31),
  'a hole of nothing': (request) => hole(request, 0, 0),
  'a hole chunk of the wrong length': ({ cookie }) => chunk(cookie, NBD_REPLY_TYPE_OFFSET_HOLE, Buffer.alloc(13)),
  'a none chunk with a payload': ({ cookie }) => chunk(cookie, NBD_REPLY_TYPE_NONE, Buffer.alloc(3)),
  'an error that is none': ({ cookie }) => chunk(cookie, NBD_REPLY_TYPE_ERROR, Buffer.concat([u32(0), u16(0)])),
  'an error shorter than its text': ({ cookie }) =>
    chunk(cookie, NBD_REPLY_TYPE_ERROR, Buffer.concat([u32(5), u16(9)])),
  'a chunk of four gigabytes': ({ cookie }) => {
    const whole = chunk(cookie, NBD_REPLY_TYPE_ERROR, Buffer.alloc(0))
    whole.writeUInt32BE(0xffffffff, 16)
    return whole
  },
  'a block status': ({ cookie }) => {
    return chunk(cookie, NBD_REPLY_TYPE_BLOCK_STATUS, Buffer.concat([u32(1), u32(512), u32(0)]))
  },
}

const brokenStatuses: Record<string, Buffer> = {
  'half a descriptor': Buffer.concat([u32(1), u32(512), u16(0)]),
  'no descriptor': u32(1),
  'a descriptor of no bytes': Buffer.concat([u32(1), u32(0), u32(0)]),
  'another context': Buffer.concat([u32(9), u32(512), u32(0)]),
}

/** Data, a hole and data again, last part first. */
function answerInParts(request: ScriptedRequest): Buffer {
  const parts = [
    data(request, 300, Buffer.alloc(212, 3), 0),
    hole(request, 100, 200, 0),
    data(request, 0, Buffer.alloc(100, 1)),
  ]
  return Buffer.concat(parts)
}

/** Byte 0 can be read, nothing else. */
function answerSimply({ cookie, offsetBytes, lengthBytes }: ScriptedRequest): Buffer {
  return offsetBytes === 0 ? simpleReply(cookie, 0, Buffer.alloc(lengthBytes, 6)) : simpleReply(cookie, NBD_EIO)
}

describe('NBD connection', () => {
  test.each(Object.entries(brokenReplies))('a read answered with %s ends the connection', async (_, answer) => {
    let first: ScriptedRequest | undefined
    await using server = await startAnswering((request) => {
      first ??= request
      return first === request ? Buffer.alloc(0) : answer(request)
    })
    await using source = await openNbdSource(server.endpoint, { signal })
    const bystander = source.read(65_536, new Uint8Array(512), { signal })
    const broken = source.read(1024, new Uint8Array(512), { signal })
    const ends = await Promise.allSettled([broken, bystander])
    const refused = { status: 'rejected', reason: { code: 'nbd.protocol_violation' } }
    expect(ends).toMatchObject([refused, refused])
  })

  test.each(Object.entries(brokenStatuses))('a block status with %s is refused', async (_, payload) => {
    await using server = await startAnswering(({ cookie }) => chunk(cookie, NBD_REPLY_TYPE_BLOCK_STATUS, payload))
    await using source = await openNbdSource(server.endpoint, { signal })
    const extents = Array.fromAsync(source.extents({ offsetBytes: 0, lengthBytes: 512 }, { signal }))
    await expect(extents).rejects.toMatchObject({ code: 'nbd.protocol_violation' })
  })

  test('data and holes may come in any order and in any pieces of the stream', async () => {
    await using server = await startScriptedServer({
      onRequest: (request, socket) => {
        socket.setNoDelay(true)
        for (const byte of answerInParts(request)) socket.write(Buffer.of(byte))
      },
    })
    await using source = await openNbdSource(server.endpoint, { signal })
    const into = new Uint8Array(512).fill(0xaa)
    await source.read(1024, into, { signal })
    expect(Buffer.from(into)).toEqual(Buffer.concat([Buffer.alloc(100, 1), Buffer.alloc(200), Buffer.alloc(212, 3)]))
  })

  test('replies may come in another order than requests, and never more than 16 are in flight', async () => {
    const held: { request: ScriptedRequest; socket: Socket }[] = []
    let mostHeld = 0
    await using server = await startScriptedServer({
      onRequest: (request, socket) => {
        held.push({ request, socket })
        mostHeld = Math.max(mostHeld, held.length)
        if (held.length < 8) return
        for (const one of held.splice(0).toReversed()) {
          one.socket.write(data(one.request, 0, Buffer.alloc(512, one.request.offsetBytes / 512)))
        }
      },
    })
    await using source = await openNbdSource(server.endpoint, { signal })
    const buffers = Array.from({ length: 64 }, () => new Uint8Array(512))
    await Promise.all(buffers.map(async (into, index) => await source.read(index * 512, into, { signal })))
    expect(buffers.every((into, index) => into.every((byte) => byte === index))).toBe(true)
    expect(mostHeld).toBeLessThanOrEqual(16)
  })

  test('a server without structured replies can be read, and its errors too', async () => {
    await using server = await startAnswering(answerSimply, { replyStyle: 'simple' })
    await using source = await openNbdSource(server.endpoint, { signal })
    const into = new Uint8Array(512)
    await source.read(0, into, { signal })
    expect(into.every((byte) => byte === 6)).toBe(true)
    const failing = source.read(4096, into, { signal })
    await expect(failing).rejects.toMatchObject({ code: 'source.read_failed', details: { offsetBytes: 4096 } })
    const extents = await Array.fromAsync(source.extents({ offsetBytes: 10, lengthBytes: 500 }, { signal }))
    expect(extents).toEqual([{ offsetBytes: 10, lengthBytes: 500, zero: false, dirty: true }])
  })

  test('a medium error names its offset and what the server said, and the connection works on', async () => {
    const text = Buffer.from('bad sector')
    await using server = await startAnswering((request) => {
      if (request.offsetBytes === 0) return data(request, 0, Buffer.alloc(512, 1))
      const payload = Buffer.concat([u32(NBD_EIO), u16(text.length), text, u64(BigInt(request.offsetBytes + 100))])
      return chunk(request.cookie, NBD_REPLY_TYPE_ERROR_OFFSET, payload)
    })
    await using source = await openNbdSource(server.endpoint, { signal })
    const failing = source.read(1024, new Uint8Array(512), { signal })
    await expect(failing).rejects.toMatchObject({
      code: 'source.read_failed',
      details: { offsetBytes: 1124 },
      message: expect.stringContaining('bad sector'),
    })
    await expect(source.read(0, new Uint8Array(512), { signal })).resolves.toBeUndefined()
  })

  test('no space is target.no_space, another failed write target.write_failed', async () => {
    await using server = await startAnswering(({ cookie, offsetBytes }) => {
      return simpleReply(cookie, offsetBytes === 0 ? NBD_ENOSPC : NBD_EIO)
    })
    await using sink = await openNbdSink(server.endpoint, { signal })
    await expect(sink.write(0, new Uint8Array(512), { signal })).rejects.toMatchObject({ code: 'target.no_space' })
    await expect(sink.writeZeroes(0, 512, { signal })).rejects.toMatchObject({ code: 'target.no_space' })
    const details = { offsetBytes: 512 }
    await expect(sink.write(512, new Uint8Array(512), { signal })).rejects.toMatchObject({
      code: 'target.write_failed',
      details,
    })
  })

  test('a read-only export is no sink', async () => {
    await using server = await startScriptedServer({ flags: NBD_FLAG_HAS_FLAGS | NBD_FLAG_READ_ONLY })
    await expect(openNbdSink(server.endpoint, { signal })).rejects.toMatchObject({ code: 'nbd.read_only' })
  })

  test('when the server vanishes, all in flight and all that comes later is nbd.disconnected', async () => {
    await using server = await startScriptedServer({ onRequest: (_, socket) => socket.destroy() })
    await using source = await openNbdSource(server.endpoint, { signal })
    const reads = [0, 512, 1024].map(async (at) => await source.read(at, new Uint8Array(512), { signal }))
    for (const read of reads) await expect(read).rejects.toMatchObject({ code: 'nbd.disconnected' })
    const later = source.read(0, new Uint8Array(512), { signal })
    await expect(later).rejects.toMatchObject({ code: 'nbd.disconnected' })
  })

  test('a server that stalls is nbd.timeout', async () => {
    await using server = await startScriptedServer({})
    await using source = await openNbdSource(server.endpoint, { signal, idleTimeoutMs: 30 })
    await expect(source.read(0, new Uint8Array(512), { signal })).rejects.toMatchObject({ code: 'nbd.timeout' })
  })

  test('a flush may take longer than other requests, but not for ever', async () => {
    let answered = false
    await using server = await startScriptedServer({
      onRequest: ({ cookie }, socket) => {
        if (!answered) setTimeout(() => socket.write(simpleReply(cookie, 0)), 100)
        answered = true
      },
    })
    await using connection = await openNbdConnection(server.endpoint, { signal, idleTimeoutMs: 40 })
    const flush = { command: NBD_CMD_FLUSH, offsetBytes: 0, lengthBytes: 0, signal } as const
    await connection.request(flush)
    await expect(connection.request(flush)).rejects.toMatchObject({ code: 'nbd.timeout' })
  })

  test('a block status that never gets to what was asked for is refused', async () => {
    const oneByte = Buffer.concat([u32(1), u32(1), u32(0)])
    await using server = await startScriptedServer({
      contexts: ['base:allocation'],
      blockSizes: [4096, 4096, 65_536],
      onRequest: ({ cookie }, socket) => void socket.write(chunk(cookie, NBD_REPLY_TYPE_BLOCK_STATUS, oneByte)),
    })
    await using source = await openNbdSource(server.endpoint, { signal })
    const extents = Array.fromAsync(source.extents({ offsetBytes: 100, lengthBytes: 512 }, { signal }))
    await expect(extents).rejects.toMatchObject({ code: 'nbd.protocol_violation' })
  })

  test('less than the minimum block is read and written around', async () => {
    const disk = Buffer.alloc(20_480, 0xcc)
    await using server = await startScriptedServer({
      sizeBytes: disk.length,
      blockSizes: [4096, 4096, 8192],
      onRequest: (request, socket) => {
        const { command, cookie, offsetBytes, lengthBytes, payload } = request
        const aligned = offsetBytes % 4096 === 0 && lengthBytes % 4096 === 0 && lengthBytes <= 8192
        if (!aligned) socket.write(simpleReply(cookie, 22))
        else if (command === NBD_CMD_READ)
          socket.write(data(request, 0, disk.subarray(offsetBytes, offsetBytes + lengthBytes)))
        else if (command === NBD_CMD_WRITE)
          socket.write(simpleReply(cookie, payload.copy(disk, offsetBytes) === 0 ? 5 : 0))
        else socket.write(simpleReply(cookie, 0))
      },
    })
    await using sink = await openNbdSink(server.endpoint, { signal })
    await Promise.all([
      sink.write(100, new Uint8Array(50).fill(1), { signal }),
      sink.write(150, new Uint8Array(13_000).fill(2), { signal }),
      sink.writeZeroes(20_000, 480, { signal }),
    ])
    const expected = Buffer.alloc(20_480, 0xcc)
    expected.fill(1, 100, 150)
    expected.fill(2, 150, 13_150)
    expected.fill(0, 20_000)
    expect(Buffer.compare(disk, expected)).toBe(0)
    await using source = await openNbdSource(server.endpoint, { signal })
    const into = new Uint8Array(300)
    await source.read(4000, into, { signal })
    expect(Buffer.compare(into, expected.subarray(4000, 4300))).toBe(0)
  })

  test('zeros are written as data where the server knows no better way', async () => {
    const disk = Buffer.alloc(8192, 1)
    await using server = await startScriptedServer({
      sizeBytes: disk.length,
      flags: NBD_FLAG_HAS_FLAGS,
      onRequest: ({ command, cookie, offsetBytes, payload }, socket) => {
        expect(command).toBe(NBD_CMD_WRITE)
        payload.copy(disk, offsetBytes)
        socket.write(simpleReply(cookie, 0))
      },
    })
    await using sink = await openNbdSink(server.endpoint, { signal })
    await sink.writeZeroes(1000, 6000, { signal })
    await sink.flush({ signal })
    expect(disk.subarray(1000, 7000).every((byte) => byte === 0)).toBe(true)
    expect(disk.subarray(7000).every((byte) => byte === 1)).toBe(true)
  })
})
