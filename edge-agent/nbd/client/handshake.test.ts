import { describe, expect, test } from 'vitest'
import {
  IHAVEOPT,
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_NO_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_MAGIC,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REPLY_TYPE_OFFSET_DATA,
} from '../wire/nbd-constants.ts'
import { encodeExportNameAnswer, encodeMetaContext, encodeOptionReply } from '../wire/option-replies.ts'
import { decodeInfoRequest } from '../wire/option-requests.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import { openNbdConnection } from './nbd-connection.ts'
import { openNbdSource } from './nbd-source.ts'
import { chunk, type ScriptedServerOptions, startScriptedServer, u16, u32, u64 } from './scripted-nbd-server.ts'

const signal = AbortSignal.timeout(60_000)

/** A server that answers one option with the bytes given. */
function answering(option: number, bytes: Buffer): ScriptedServerOptions {
  return { answerOption: (asked) => (asked === option ? bytes : undefined) }
}

const badHandshakes: Record<string, { server: ScriptedServerOptions; code: string }> = {
  'a greeting without NBDMAGIC': { server: { greeting: Buffer.alloc(18, 7) }, code: 'nbd.protocol_violation' },
  'an oldstyle greeting': {
    server: { greeting: Buffer.concat([u64(NBD_MAGIC), u64(0x420281861253n), u16(0)]) },
    code: 'nbd.protocol_violation',
  },
  'an option reply with a wrong magic': {
    server: answering(NBD_OPT_GO, Buffer.alloc(20, 9)),
    code: 'nbd.protocol_violation',
  },
  'an option reply to something else': {
    server: answering(NBD_OPT_GO, encodeOptionReply(1, NBD_REP_ACK)),
    code: 'nbd.protocol_violation',
  },
  'an option reply of a gigabyte': {
    server: answering(NBD_OPT_GO, Buffer.concat([encodeOptionReply(NBD_OPT_GO, 1).subarray(0, 16), u32(2 ** 30)])),
    code: 'nbd.protocol_violation',
  },
  'an acknowledgement without the export’s size': {
    server: answering(NBD_OPT_GO, encodeOptionReply(NBD_OPT_GO, NBD_REP_ACK)),
    code: 'nbd.protocol_violation',
  },
  'an export larger than numbers are exact': {
    server: answering(
      NBD_OPT_GO,
      encodeOptionReply(NBD_OPT_GO, NBD_REP_INFO, Buffer.concat([u16(0), u64(2n ** 60n), u16(1)])),
    ),
    code: 'nbd.protocol_violation',
  },
  'a minimum block that is no power of two': {
    server: { blockSizes: [3, 4096, 65_536] },
    code: 'nbd.protocol_violation',
  },
  'bytes after the handshake': {
    server: {
      answerOption: (asked) => (asked === NBD_OPT_GO ? Buffer.concat([goAnswer(), Buffer.alloc(3)]) : undefined),
    },
    code: 'nbd.protocol_violation',
  },
  'a context nobody asked for': {
    server: answering(
      NBD_OPT_SET_META_CONTEXT,
      encodeOptionReply(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, Buffer.concat([u32(1), Buffer.from('x:y')])),
    ),
    code: 'nbd.protocol_violation',
  },
  'a context that comes twice': {
    server: { contexts: ['base:allocation', 'base:allocation'] },
    code: 'nbd.protocol_violation',
  },
  'two contexts with one id': {
    server: answering(
      NBD_OPT_SET_META_CONTEXT,
      Buffer.concat([metaContext(1, 'base:allocation'), metaContext(1, 'qemu:dirty-bitmap:b')]),
    ),
    code: 'nbd.protocol_violation',
  },
  'a context name with a NUL': {
    server: answering(NBD_OPT_SET_META_CONTEXT, metaContext(1, 'base:\0')),
    code: 'nbd.protocol_violation',
  },
  'an acknowledgement with data': {
    server: answering(
      NBD_OPT_STRUCTURED_REPLY,
      encodeOptionReply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, Buffer.alloc(1)),
    ),
    code: 'nbd.protocol_violation',
  },
  'a reply that this option does not have': {
    server: answering(NBD_OPT_STRUCTURED_REPLY, encodeOptionReply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_INFO, u16(0))),
    code: 'nbd.protocol_violation',
  },
  'informations without end': {
    server: answering(
      NBD_OPT_GO,
      Buffer.concat(Array.from({ length: 65 }, () => encodeOptionReply(NBD_OPT_GO, NBD_REP_INFO, u16(77)))),
    ),
    code: 'nbd.protocol_violation',
  },
  'an information of no bytes': {
    server: answering(NBD_OPT_GO, encodeOptionReply(NBD_OPT_GO, NBD_REP_INFO)),
    code: 'nbd.protocol_violation',
  },
  'a size of the wrong length': {
    server: answering(NBD_OPT_GO, encodeOptionReply(NBD_OPT_GO, NBD_REP_INFO, Buffer.alloc(11))),
    code: 'nbd.protocol_violation',
  },
  'transmission flags that say they are none': { server: { flags: 0 }, code: 'nbd.protocol_violation' },
  'a disk that ends within a block': {
    server: { sizeBytes: 1000, blockSizes: [512, 4096, 65_536] },
    code: 'nbd.protocol_violation',
  },
  'a maximum below the minimum': {
    server: { blockSizes: [4096, 4096, 512] },
    code: 'nbd.protocol_violation',
  },
  'a flood before anything was asked': {
    server: { greeting: Buffer.alloc(300_000, 1) },
    code: 'nbd.protocol_violation',
  },
  'an export that is not for us': {
    server: answering(NBD_OPT_GO, encodeOptionReply(NBD_OPT_GO, NBD_REP_ERR_POLICY)),
    code: 'nbd.access_denied',
  },
  'an unknown export': {
    server: answering(NBD_OPT_GO, encodeOptionReply(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN, Buffer.from('no such export'))),
    code: 'nbd.export_not_found',
  },
  'an export that needs TLS': {
    server: answering(NBD_OPT_GO, encodeOptionReply(NBD_OPT_GO, NBD_REP_ERR_TLS_REQD)),
    code: 'nbd.access_denied',
  },
  'a server that shuts down': {
    server: answering(NBD_OPT_GO, encodeOptionReply(NBD_OPT_GO, NBD_REP_ERR_SHUTDOWN)),
    code: 'nbd.disconnected',
  },
}

function metaContext(id: number, name: string): Buffer {
  return encodeOptionReply(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, encodeMetaContext(id, name))
}

function refuseGo(option: number): Buffer | undefined {
  return option === NBD_OPT_GO ? encodeOptionReply(option, NBD_REP_ERR_UNSUP) : undefined
}

function goAnswer(): Buffer {
  const info = Buffer.concat([u16(0), u64(4096n), u16(1)])
  return Buffer.concat([encodeOptionReply(NBD_OPT_GO, NBD_REP_INFO, info), encodeOptionReply(NBD_OPT_GO, NBD_REP_ACK)])
}

describe('NBD handshake', () => {
  test.each(Object.entries(badHandshakes))('%s is refused', async (_, { server, code }) => {
    await using running = await startScriptedServer(server)
    await expect(openNbdConnection(running.endpoint, { signal })).rejects.toMatchObject({ code })
  })

  test('negotiates size, flags, block sizes and both contexts', async () => {
    const contexts = ['base:allocation', 'qemu:dirty-bitmap:b']
    await using server = await startScriptedServer({
      sizeBytes: 12_288,
      flags: 0x4d,
      contexts,
      blockSizes: [512, 4096, 65_536],
    })
    const endpoint = { ...server.endpoint, dirtyContext: 'qemu:dirty-bitmap:b' }
    await using connection = await openNbdConnection(endpoint, { signal })
    expect(connection.session).toMatchObject({
      sizeBytes: 12_288,
      flags: 0x4d,
      blockSizes: { minimumBytes: 512, preferredBytes: 4096, maximumBytes: 65_536 },
      replyStyle: 'structured',
      contextIds: new Map([
        ['base:allocation', 1],
        ['qemu:dirty-bitmap:b', 2],
      ]),
    })
  })

  test('asks for the best first, and for block sizes with the export', async () => {
    const asked: { option: number; data: Buffer }[] = []
    const clientFlags: number[] = []
    await using server = await startScriptedServer({
      contexts: ['base:allocation'],
      answerOption: (option, data) => void asked.push({ option, data }),
      onClientFlags: (flags) => void clientFlags.push(flags),
    })
    await using connection = await openNbdConnection(server.endpoint, { signal })
    expect(connection.session.replyStyle).toBe('structured')
    expect(clientFlags).toEqual([NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES])
    expect(asked.map(({ option }) => option)).toEqual([
      NBD_OPT_EXTENDED_HEADERS,
      NBD_OPT_STRUCTURED_REPLY,
      NBD_OPT_SET_META_CONTEXT,
      NBD_OPT_GO,
    ])
    const go = decodeInfoRequest(asked.at(-1)?.data ?? Buffer.alloc(0))
    expect(go).toEqual({ exportName: 'disk', infos: [NBD_INFO_BLOCK_SIZE] })
  })

  test.each([
    ['extended', ['base:allocation'], true],
    ['structured', ['base:allocation'], true],
    ['simple', [], false],
  ] as const)('a server that speaks %s is spoken to so', async (replyStyle, names, hasContexts) => {
    const asked: number[] = []
    await using server = await startScriptedServer({
      replyStyle,
      contexts: ['base:allocation'],
      answerOption: (option) => void asked.push(option),
    })
    await using connection = await openNbdConnection(server.endpoint, { signal })
    expect(connection.session.replyStyle).toBe(replyStyle)
    expect([...connection.session.contextIds.keys()]).toEqual(names)
    expect(asked.includes(NBD_OPT_SET_META_CONTEXT)).toBe(hasContexts)
    expect(asked.includes(NBD_OPT_STRUCTURED_REPLY)).toBe(replyStyle !== 'extended')
  })

  test('flags of the greeting and informations that nobody knows yet are ignored', async () => {
    const greeting = Buffer.concat([u64(NBD_MAGIC), u64(IHAVEOPT), u16(0xffff)])
    const unknown = encodeOptionReply(NBD_OPT_GO, NBD_REP_INFO, Buffer.concat([u16(900), Buffer.alloc(33, 5)]))
    await using server = await startScriptedServer({
      greeting,
      answerOption: (option) => (option === NBD_OPT_GO ? Buffer.concat([unknown, goAnswer()]) : undefined),
    })
    await using connection = await openNbdConnection(server.endpoint, { signal })
    expect(connection.session.sizeBytes).toBe(4096)
  })

  test('contexts that came before an error are not there', async () => {
    const refused = encodeOptionReply(NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_TOO_BIG)
    await using server = await startScriptedServer(
      answering(NBD_OPT_SET_META_CONTEXT, Buffer.concat([metaContext(1, 'base:allocation'), refused])),
    )
    await using connection = await openNbdConnection(server.endpoint, { signal })
    expect(connection.session.contextIds.size).toBe(0)
  })

  test.each([
    ['with its zeros', 0],
    ['without', NBD_FLAG_NO_ZEROES],
  ])('a server from before NBD_OPT_GO is used, %s', async (_, noZeroes) => {
    const info = { sizeBytes: 8192, flags: NBD_FLAG_HAS_FLAGS }
    const names: string[] = []
    await using server = await startScriptedServer({
      greeting: Buffer.concat([u64(NBD_MAGIC), u64(IHAVEOPT), u16(NBD_FLAG_FIXED_NEWSTYLE | noZeroes)]),
      answerOption: (option, data) => {
        if (option === NBD_OPT_GO) return encodeOptionReply(option, NBD_REP_ERR_UNSUP)
        if (option !== NBD_OPT_EXPORT_NAME) return undefined
        names.push(data.toString('utf8'))
        return encodeExportNameAnswer(info, noZeroes !== 0)
      },
      onRequest: ({ cookie, lengthBytes, offsetBytes }, socket) => {
        const payload = Buffer.concat([u64(BigInt(offsetBytes)), Buffer.alloc(lengthBytes, 3)])
        socket.write(chunk(cookie, NBD_REPLY_TYPE_OFFSET_DATA, payload))
      },
    })
    await using source = await openNbdSource(server.endpoint, { signal })
    const into = new Uint8Array(8192)
    await source.read(0, into, { signal })
    expect(names).toEqual(['disk'])
    expect(into.every((byte) => byte === 3)).toBe(true)
  })

  test('an old server that closes on the name, and one that speaks extended headers without NBD_OPT_GO', async () => {
    await using closing = await startScriptedServer({
      answerOption: (option) => {
        if (option === NBD_OPT_EXPORT_NAME) closing.cut()
        return refuseGo(option)
      },
    })
    await expect(openNbdConnection(closing.endpoint, { signal })).rejects.toMatchObject({ code: 'nbd.disconnected' })
    await using contrary = await startScriptedServer({ replyStyle: 'extended', answerOption: refuseGo })
    const opening = openNbdConnection(contrary.endpoint, { signal })
    await expect(opening).rejects.toMatchObject({ code: 'nbd.protocol_violation' })
  })

  test('who is told no says goodbye; who is lied to just leaves', async () => {
    const options: number[] = []
    const gone = Promise.withResolvers<void>()
    await using server = await startScriptedServer({
      answerOption: (option) => {
        options.push(option)
        if (option === NBD_OPT_ABORT) gone.resolve()
        return option === NBD_OPT_GO ? encodeOptionReply(option, NBD_REP_ERR_UNKNOWN) : undefined
      },
    })
    await expect(openNbdConnection(server.endpoint, { signal })).rejects.toMatchObject({
      code: 'nbd.export_not_found',
    })
    await gone.promise
    expect(options.at(-1)).toBe(NBD_OPT_ABORT)
    const heard: number[] = []
    await using liar = await startScriptedServer({
      answerOption: (option) => {
        heard.push(option)
        return option === NBD_OPT_GO ? encodeOptionReply(1, NBD_REP_ACK) : undefined
      },
    })
    await expect(openNbdConnection(liar.endpoint, { signal })).rejects.toMatchObject({ code: 'nbd.protocol_violation' })
    expect(heard.at(-1)).toBe(NBD_OPT_GO)
  })

  test('a dirty context that is not there is an error, not a full read', async () => {
    await using server = await startScriptedServer({ contexts: ['base:allocation'] })
    const endpoint = { ...server.endpoint, dirtyContext: 'qemu:dirty-bitmap:gone' }
    await expect(openNbdSource(endpoint, { signal })).rejects.toMatchObject({ code: 'nbd.context_not_found' })
  })

  test('nobody listening is nbd.disconnected', async () => {
    const address = { transport: 'unix', path: '/nonexistent/nbd.sock' } as const
    const opening = openNbdConnection({ kind: 'nbd', address, exportName: '' }, { signal })
    await expect(opening).rejects.toMatchObject({ code: 'nbd.disconnected' })
  })

  test('a server that says nothing is nbd.timeout', async () => {
    await using server = await startScriptedServer({ greeting: Buffer.alloc(0) })
    const opening = openNbdConnection(server.endpoint, { signal, connectTimeoutMs: 30 })
    await expect(opening).rejects.toMatchObject({ code: 'nbd.timeout' })
  })

  test('a server that vanishes after any byte of the handshake is nbd.disconnected', async () => {
    const whole = await handshakeBytes('extended')
    for (let sent = 0; sent < whole; sent += 1) {
      await using server = await startScriptedServer({ ...fullScript('extended'), vanishAfterBytes: sent })
      const opening = openNbdConnection(server.endpoint, { signal })
      await expect(opening, `after byte ${sent}`).rejects.toMatchObject({ code: 'nbd.disconnected' })
    }
  })

  test('a server that stalls after any byte of the handshake is nbd.timeout', async () => {
    const whole = await handshakeBytes('structured')
    const openings = Array.from({ length: whole }, async (_, sent) => {
      await using server = await startScriptedServer({ ...fullScript('structured'), stallAfterBytes: sent })
      const opening = openNbdConnection(server.endpoint, { signal, connectTimeoutMs: 1500 })
      await expect(opening, `after byte ${sent}`).rejects.toMatchObject({ code: 'nbd.timeout' })
    })
    await Promise.all(openings)
  })

  test('an abort rejects with its reason', async () => {
    await using server = await startScriptedServer({ greeting: Buffer.alloc(0) })
    const control = new AbortController()
    const opening = openNbdConnection(server.endpoint, { signal: control.signal })
    setImmediate(() => control.abort(new Error('enough')))
    await expect(opening).rejects.toThrow('enough')
  })
})

function fullScript(replyStyle: ReplyStyle): ScriptedServerOptions {
  return { replyStyle, contexts: ['base:allocation'], blockSizes: [512, 4096, 65_536] }
}

/** What a server says in a whole handshake. */
async function handshakeBytes(replyStyle: ReplyStyle): Promise<number> {
  let low = 0
  let high = 1024
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    await using server = await startScriptedServer({ ...fullScript(replyStyle), vanishAfterBytes: middle })
    const [end] = await Promise.allSettled([openNbdConnection(server.endpoint, { signal })])
    if (end.status === 'fulfilled') {
      await end.value[Symbol.asyncDispose]()
      high = middle
    } else {
      low = middle + 1
    }
  }
  return low
}
