import type { Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_TRIM,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
} from '../wire/nbd-constants.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import type { NbdRequest } from './in-flight-request.ts'
import { openNbdConnection } from './nbd-connection.ts'
import {
  chunk,
  extendedChunk,
  type ScriptedRequest,
  type ScriptedServerOptions,
  simpleReply,
  startScriptedServer,
  u16,
  u32,
  u64,
} from './scripted-nbd-server.ts'

const signal = AbortSignal.timeout(60_000)
const FLAGS = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_DF | NBD_FLAG_SEND_TRIM
const DONE = NBD_REPLY_FLAG_DONE
const LATER = 0
type Answer = (request: ScriptedRequest) => Buffer

const status = (id: number, ...runs: readonly [number, number][]): Buffer => {
  return Buffer.concat([u32(id), ...runs.flatMap((run) => run.map(u32))])
}
const extendedStatus = (id: number, count: number, ...runs: readonly [bigint, bigint][]): Buffer => {
  return Buffer.concat([u32(id), u32(count), ...runs.flatMap((run) => run.map(u64))])
}
const data = (request: ScriptedRequest, start: number, bytes: Buffer): Buffer => {
  return Buffer.concat([u64(BigInt(request.offsetBytes + start)), bytes])
}
const error = (errorNumber: number, text: string, ...tail: readonly Buffer[]): Buffer => {
  return Buffer.concat([u32(errorNumber), u16(text.length), Buffer.from(text), ...tail])
}

/** A connection to a server that answers everything so; both end with the test. */
async function connect(answer: Answer, script: ScriptedServerOptions = {}, idleTimeoutMs = 10_000) {
  const onRequest = (request: ScriptedRequest, _: Socket, send: (reply: Buffer) => void): void => send(answer(request))
  const server = await startScriptedServer({ flags: FLAGS, contexts: ['base:allocation'], onRequest, ...script })
  const connection = await openNbdConnection(server.endpoint, { signal, idleTimeoutMs })
  const dispose = async (): Promise<void> => {
    await connection[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  }
  return { connection, [Symbol.asyncDispose]: dispose }
}

function makeRequest(command: NbdRequest['command'], commandFlags = 0): NbdRequest & { readonly into: Uint8Array } {
  return { command, commandFlags, offsetBytes: 4096, lengthBytes: 512, into: new Uint8Array(512), signal }
}

interface Violation {
  readonly style: ReplyStyle
  readonly asked: NbdRequest
  readonly answer: Answer
}

const read = makeRequest(NBD_CMD_READ)
const unfragmented = makeRequest(NBD_CMD_READ, NBD_CMD_FLAG_DF)
const ask = makeRequest(NBD_CMD_BLOCK_STATUS)
const askOne = makeRequest(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE)
const violations: Record<string, Violation> = {
  'a none chunk that is not the last': {
    style: 'structured',
    asked: read,
    answer: ({ cookie }) => chunk(cookie, NBD_REPLY_TYPE_NONE, Buffer.alloc(0), LATER),
  },
  'a chunk after the last one': {
    style: 'structured',
    asked: read,
    answer: (asked) => {
      const whole = chunk(asked.cookie, NBD_REPLY_TYPE_OFFSET_DATA, data(asked, 0, Buffer.alloc(512)))
      return Buffer.concat([whole, chunk(asked.cookie, NBD_REPLY_TYPE_NONE, Buffer.alloc(0))])
    },
  },
  'an error at a byte that was not asked for': {
    style: 'structured',
    asked: read,
    answer: ({ cookie }) => chunk(cookie, NBD_REPLY_TYPE_ERROR_OFFSET, error(5, '', u64(4096n + 512n))),
  },
  'an error text of more than 4096 bytes': {
    style: 'structured',
    asked: read,
    answer: ({ cookie }) => chunk(cookie, NBD_REPLY_TYPE_ERROR, error(5, 'x'.repeat(4097))),
  },
  'pieces of a read that must not be fragmented': {
    style: 'structured',
    asked: unfragmented,
    answer: (asked) => {
      const half = (start: number, flags: number): Buffer => {
        return chunk(asked.cookie, NBD_REPLY_TYPE_OFFSET_DATA, data(asked, start, Buffer.alloc(256)), flags)
      }
      return Buffer.concat([half(0, LATER), half(256, DONE)])
    },
  },
  'a context that was not negotiated beside the one that was': {
    style: 'structured',
    asked: ask,
    answer: ({ cookie }) => {
      const known = chunk(cookie, NBD_REPLY_TYPE_BLOCK_STATUS, status(1, [512, 0]), LATER)
      return Buffer.concat([known, chunk(cookie, NBD_REPLY_TYPE_BLOCK_STATUS, status(2, [512, 0]))])
    },
  },
  'a context twice': {
    style: 'structured',
    asked: ask,
    answer: ({ cookie }) => {
      const once = chunk(cookie, NBD_REPLY_TYPE_BLOCK_STATUS, status(1, [512, 0]), LATER)
      return Buffer.concat([once, chunk(cookie, NBD_REPLY_TYPE_BLOCK_STATUS, status(1, [512, 0]))])
    },
  },
  'no context at all': {
    style: 'structured',
    asked: ask,
    answer: ({ cookie }) => chunk(cookie, NBD_REPLY_TYPE_NONE, Buffer.alloc(0)),
  },
  'a run that begins behind what was asked for': {
    style: 'structured',
    asked: ask,
    answer: ({ cookie }) => chunk(cookie, NBD_REPLY_TYPE_BLOCK_STATUS, status(1, [512, 0], [512, 1])),
  },
  'two runs where one was asked for': {
    style: 'structured',
    asked: askOne,
    answer: ({ cookie }) => chunk(cookie, NBD_REPLY_TYPE_BLOCK_STATUS, status(1, [100, 0], [412, 1])),
  },
  'one run that is longer than asked for': {
    style: 'structured',
    asked: askOne,
    answer: ({ cookie }) => chunk(cookie, NBD_REPLY_TYPE_BLOCK_STATUS, status(1, [513, 0])),
  },
  'an extended block status without extended headers': {
    style: 'structured',
    asked: ask,
    answer: ({ cookie }) => chunk(cookie, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, extendedStatus(1, 1, [512n, 0n])),
  },
  'an extended header that was not negotiated': {
    style: 'structured',
    asked: read,
    answer: (asked) => extendedChunk(asked, NBD_REPLY_TYPE_OFFSET_DATA, data(asked, 0, Buffer.alloc(512))),
  },
  'a structured header where only simple ones are spoken': {
    style: 'simple',
    asked: read,
    answer: (asked) => chunk(asked.cookie, NBD_REPLY_TYPE_OFFSET_DATA, data(asked, 0, Buffer.alloc(512))),
  },
  'a simple reply among extended ones': {
    style: 'extended',
    asked: read,
    answer: ({ cookie }) => simpleReply(cookie, 5),
  },
  'a structured header among extended ones': {
    style: 'extended',
    asked: read,
    answer: (asked) => chunk(asked.cookie, NBD_REPLY_TYPE_OFFSET_DATA, data(asked, 0, Buffer.alloc(512))),
  },
  'the offset of another request': {
    style: 'extended',
    asked: read,
    answer: (asked) => {
      const other = { ...asked, offsetBytes: 8192 }
      return extendedChunk(other, NBD_REPLY_TYPE_OFFSET_DATA, data(asked, 0, Buffer.alloc(512)))
    },
  },
  'a chunk of 2^63 bytes': {
    style: 'extended',
    asked: ask,
    answer: (asked) => {
      const whole = extendedChunk(asked, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, Buffer.alloc(24))
      whole.writeBigUInt64BE(2n ** 63n, 24)
      return whole
    },
  },
  'data of 2^63 bytes': {
    style: 'extended',
    asked: read,
    answer: (asked) => {
      const whole = extendedChunk(asked, NBD_REPLY_TYPE_OFFSET_DATA, data(asked, 0, Buffer.alloc(512)))
      whole.writeBigUInt64BE(2n ** 63n, 24)
      return whole
    },
  },
  'a compact block status with extended headers': {
    style: 'extended',
    asked: ask,
    answer: (asked) => extendedChunk(asked, NBD_REPLY_TYPE_BLOCK_STATUS, status(1, [512, 0])),
  },
  'an extended block status with another count': {
    style: 'extended',
    asked: ask,
    answer: (asked) => extendedChunk(asked, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, extendedStatus(1, 2, [512n, 0n])),
  },
  'a status flag beyond bit 31': {
    style: 'extended',
    asked: ask,
    answer: (asked) => extendedChunk(asked, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, extendedStatus(1, 1, [512n, 2n ** 32n])),
  },
}

describe('what the protocol forbids a server', () => {
  test.each(Object.entries(violations))('%s ends the connection', async (_, { style, asked, answer }) => {
    await using opened = await connect(answer, { replyStyle: style })
    const [first, second] = await Promise.allSettled([
      opened.connection.request(asked),
      opened.connection.request(read),
    ])
    // A reply that was whole before the forbidden byte may have been given to its caller.
    expect([first.status, second.status]).toContain('rejected')
    await expect(opened.connection.request(read)).rejects.toMatchObject({ code: 'nbd.protocol_violation' })
  })

  test('a request answered twice ends the connection', async () => {
    await using opened = await connect((asked) => {
      const whole = chunk(asked.cookie, NBD_REPLY_TYPE_OFFSET_DATA, data(asked, 0, Buffer.alloc(512)))
      return Buffer.concat([whole, whole])
    })
    await opened.connection.request(read)
    await expect(opened.connection.request(read)).rejects.toMatchObject({ code: 'nbd.protocol_violation' })
  })
})

/** One reply of so many error chunks. */
const answerInErrors = (length: number): Answer => {
  return ({ cookie }) => {
    const more = chunk(cookie, NBD_REPLY_TYPE_ERROR, error(5, 'worse'), LATER)
    const last = chunk(cookie, NBD_REPLY_TYPE_ERROR, error(5, 'worst'))
    return Buffer.concat([...Array.from({ length: length - 1 }, () => more), last])
  }
}

test('a row of errors in one reply may be long, but has an end', async () => {
  await using patient = await connect(answerInErrors(1024))
  await expect(patient.connection.request(read)).rejects.toMatchObject({ code: 'nbd.io_failed' })
  await using hostile = await connect(answerInErrors(1025))
  await expect(hostile.connection.request(read)).rejects.toMatchObject({ code: 'nbd.protocol_violation' })
})

describe('what the protocol allows a server', () => {
  test('flags of a chunk that nobody knows yet are ignored', async () => {
    await using opened = await connect((asked) => {
      return chunk(asked.cookie, NBD_REPLY_TYPE_OFFSET_DATA, data(asked, 0, Buffer.alloc(512, 4)), 0xffff)
    })
    await opened.connection.request(read)
    expect(read.into.every((byte) => byte === 4)).toBe(true)
  })

  test('an error of a kind that nobody knows yet fails its request only, as does an unknown error number', async () => {
    await using opened = await connect((asked) => {
      if (asked.offsetBytes !== 4096) return chunk(asked.cookie, NBD_REPLY_TYPE_ERROR, error(71_234, 'strange'))
      const strange = error(5, 'worse', Buffer.alloc(40, 9))
      return chunk(asked.cookie, 2 ** 15 + 77, strange)
    })
    await expect(opened.connection.request(read)).rejects.toMatchObject({ code: 'nbd.io_failed' })
    const other = opened.connection.request({ ...read, offsetBytes: 0 })
    await expect(other).rejects.toMatchObject({ code: 'nbd.io_failed', message: expect.stringContaining('strange') })
    await expect(opened.connection.request(read)).rejects.toMatchObject({ code: 'nbd.io_failed' })
  })

  test('more data after an error, which is what the reply ends as', async () => {
    await using opened = await connect((asked) => {
      const failed = chunk(asked.cookie, NBD_REPLY_TYPE_ERROR_OFFSET, error(5, '', u64(4100n)), LATER)
      return Buffer.concat([
        failed,
        chunk(asked.cookie, NBD_REPLY_TYPE_OFFSET_DATA, data(asked, 256, Buffer.alloc(256))),
      ])
    })
    const failing = opened.connection.request(read)
    await expect(failing).rejects.toMatchObject({ code: 'nbd.io_failed', details: { offsetBytes: 4100 } })
  })
})

describe('extended headers', () => {
  test('reads, holes, writes and errors go both ways, and a write says that it has a payload', async () => {
    const seen: ScriptedRequest[] = []
    await using opened = await connect(
      (asked) => {
        seen.push(asked)
        if (asked.command === NBD_CMD_WRITE) return extendedChunk(asked, NBD_REPLY_TYPE_ERROR, error(28, 'full'))
        const hole = Buffer.concat([u64(BigInt(asked.offsetBytes + 256)), u32(256)])
        return Buffer.concat([
          extendedChunk(asked, NBD_REPLY_TYPE_OFFSET_HOLE, hole, LATER),
          extendedChunk(asked, NBD_REPLY_TYPE_OFFSET_DATA, data(asked, 0, Buffer.alloc(256, 8))),
        ])
      },
      { replyStyle: 'extended' },
    )
    const asked = makeRequest(NBD_CMD_READ)
    asked.into.fill(0xaa)
    await opened.connection.request(asked)
    expect(Buffer.from(asked.into)).toEqual(Buffer.concat([Buffer.alloc(256, 8), Buffer.alloc(256)]))
    const payload = new Uint8Array(512).fill(3)
    const write = { command: NBD_CMD_WRITE, offsetBytes: 512, lengthBytes: 512, payload, signal } as const
    await expect(opened.connection.request(write)).rejects.toMatchObject({ code: 'nbd.no_space' })
    expect(seen.map(({ commandFlags }) => commandFlags)).toEqual([0, 1 << 5])
    expect(Buffer.compare(seen[1]?.payload ?? Buffer.alloc(0), payload)).toBe(0)
  })

  test('ranges and runs are longer than 32 bits can say', async () => {
    const tib = 2 ** 40
    const lengths: number[] = []
    await using opened = await connect(
      (asked) => {
        lengths.push(asked.lengthBytes)
        if (asked.command === NBD_CMD_TRIM) return extendedChunk(asked, NBD_REPLY_TYPE_NONE, Buffer.alloc(0))
        return extendedChunk(asked, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, extendedStatus(1, 1, [BigInt(3 * tib), 3n]))
      },
      { replyStyle: 'extended', sizeBytes: 4 * tib },
    )
    await opened.connection.request({ command: NBD_CMD_TRIM, offsetBytes: tib, lengthBytes: 2 * tib, signal })
    const answer = await opened.connection.request({
      command: NBD_CMD_BLOCK_STATUS,
      offsetBytes: 0,
      lengthBytes: tib,
      signal,
    })
    expect(lengths).toEqual([2 * tib, tib])
    expect(answer.get(1)).toEqual([{ lengthBytes: 3 * tib, flags: 3 }])
  })
})

describe('a server that goes silent in the middle', () => {
  const styles: readonly ReplyStyle[] = ['simple', 'structured', 'extended']
  /** A whole reply to the read, of at least three chunks where there are any. */
  const replies: Record<ReplyStyle, Answer> = {
    simple: ({ cookie }) => simpleReply(cookie, 0, Buffer.alloc(512, 1)),
    structured: (asked) => {
      const hole = Buffer.concat([u64(BigInt(asked.offsetBytes + 20)), u32(492)])
      return Buffer.concat([
        chunk(asked.cookie, NBD_REPLY_TYPE_OFFSET_DATA, data(asked, 0, Buffer.alloc(20, 1)), LATER),
        chunk(asked.cookie, NBD_REPLY_TYPE_OFFSET_HOLE, hole, LATER),
        chunk(asked.cookie, NBD_REPLY_TYPE_NONE, Buffer.alloc(0)),
      ])
    },
    extended: (asked) => {
      const hole = Buffer.concat([u64(BigInt(asked.offsetBytes + 20)), u32(492)])
      return Buffer.concat([
        extendedChunk(asked, NBD_REPLY_TYPE_OFFSET_DATA, data(asked, 0, Buffer.alloc(20, 1)), LATER),
        extendedChunk(asked, NBD_REPLY_TYPE_OFFSET_HOLE, hole, LATER),
        extendedChunk(asked, NBD_REPLY_TYPE_NONE, Buffer.alloc(0)),
      ])
    },
  }

  test.each(styles)('%s: one that vanishes after any byte of a reply is nbd.disconnected', async (style) => {
    const whole = replies[style]({ cookie: 1n, offsetBytes: 4096, lengthBytes: 512 } as ScriptedRequest).length
    const step = style === 'simple' ? 7 : 1
    for (let sent = 0; sent < whole; sent += step) {
      const onRequest = (asked: ScriptedRequest, socket: Socket): void => {
        socket.write(replies[style](asked).subarray(0, sent), () => socket.destroy())
      }
      await using opened = await connect(() => Buffer.alloc(0), { replyStyle: style, onRequest })
      const reading = opened.connection.request(makeRequest(NBD_CMD_READ))
      await expect(reading, `after byte ${sent}`).rejects.toMatchObject({ code: 'nbd.disconnected' })
    }
  })

  test.each(styles)('%s: one that stalls after any byte of a reply is nbd.timeout', async (style) => {
    const whole = replies[style]({ cookie: 1n, offsetBytes: 4096, lengthBytes: 512 } as ScriptedRequest).length
    const cuts = Array.from({ length: 40 }, (_, index) => Math.floor((index * whole) / 40))
    const readings = cuts.map(async (sent) => {
      const answer: Answer = (asked) => replies[style](asked).subarray(0, sent)
      await using opened = await connect(answer, { replyStyle: style }, 200)
      const reading = opened.connection.request(makeRequest(NBD_CMD_READ))
      await expect(reading, `after byte ${sent}`).rejects.toMatchObject({ code: 'nbd.timeout' })
    })
    await Promise.all(readings)
  })
})
