import { describe, expect, test } from 'vitest'
import {
  NBD_MAGIC,
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_REP_ACK,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
} from '../wire/nbd-constants.ts'
import { openNbdConnection } from './nbd-connection.ts'
import { openNbdSource } from './nbd-source.ts'
import { optionReply, type ScriptedServerOptions, startScriptedServer, u16, u32, u64 } from './scripted-nbd-server.ts'

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
    server: answering(NBD_OPT_GO, optionReply(1, NBD_REP_ACK)),
    code: 'nbd.protocol_violation',
  },
  'an option reply of a gigabyte': {
    server: answering(NBD_OPT_GO, Buffer.concat([optionReply(NBD_OPT_GO, 1).subarray(0, 16), u32(2 ** 30)])),
    code: 'nbd.protocol_violation',
  },
  'an acknowledgement without the export’s size': {
    server: answering(NBD_OPT_GO, optionReply(NBD_OPT_GO, NBD_REP_ACK)),
    code: 'nbd.protocol_violation',
  },
  'an export larger than numbers are exact': {
    server: answering(
      NBD_OPT_GO,
      optionReply(NBD_OPT_GO, NBD_REP_INFO, Buffer.concat([u16(0), u64(2n ** 60n), u16(1)])),
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
      optionReply(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, Buffer.concat([u32(1), Buffer.from('x:y')])),
    ),
    code: 'nbd.protocol_violation',
  },
  'an unknown export': {
    server: answering(NBD_OPT_GO, optionReply(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN, Buffer.from('no such export'))),
    code: 'nbd.export_not_found',
  },
  'an export that needs TLS': {
    server: answering(NBD_OPT_GO, optionReply(NBD_OPT_GO, NBD_REP_ERR_TLS_REQD)),
    code: 'nbd.access_denied',
  },
  'a server that shuts down': {
    server: answering(NBD_OPT_GO, optionReply(NBD_OPT_GO, NBD_REP_ERR_SHUTDOWN)),
    code: 'nbd.disconnected',
  },
}

function goAnswer(): Buffer {
  const info = Buffer.concat([u16(0), u64(4096n), u16(1)])
  return Buffer.concat([optionReply(NBD_OPT_GO, NBD_REP_INFO, info), optionReply(NBD_OPT_GO, NBD_REP_ACK)])
}

describe('NBD handshake', () => {
  test.each(Object.entries(badHandshakes))('%s is refused', async (_, { server, code }) => {
    await using running = await startScriptedServer(server)
    await expect(openNbdConnection(running.endpoint, { signal })).rejects.toMatchObject({ code })
  })

  test('negotiates size, flags, block sizes and both contexts', async () => {
    const contexts = ['base:allocation', 'qemu:dirty-bitmap:b']
    await using server = await startScriptedServer({
      sizeBytes: 12_345,
      flags: 0x4d,
      contexts,
      blockSizes: [512, 4096, 65_536],
    })
    const endpoint = { ...server.endpoint, dirtyContext: 'qemu:dirty-bitmap:b' }
    await using connection = await openNbdConnection(endpoint, { signal })
    expect(connection.session).toMatchObject({
      sizeBytes: 12_345,
      flags: 0x4d,
      blockSizes: { minimumBytes: 512, preferredBytes: 4096, maximumBytes: 65_536 },
      structuredReplies: true,
      contextIds: new Map([
        ['base:allocation', 1],
        ['qemu:dirty-bitmap:b', 2],
      ]),
    })
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

  test('an abort rejects with its reason', async () => {
    await using server = await startScriptedServer({ greeting: Buffer.alloc(0) })
    const control = new AbortController()
    const opening = openNbdConnection(server.endpoint, { signal: control.signal })
    setImmediate(() => control.abort(new Error('enough')))
    await expect(opening).rejects.toThrow('enough')
  })
})
