import { describe, expect, test } from 'vitest'
import {
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_NAME,
  NBD_OPT_ABORT,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
} from '../wire/nbd-constants.ts'
import {
  encodeBlockSizeInfo,
  encodeDescriptionInfo,
  encodeExportInfo,
  encodeMetaContext,
  encodeNameInfo,
  encodeOptionReply,
  encodeServer,
} from '../wire/option-replies.ts'
import { decodeInfoRequest, decodeMetaContextRequest } from '../wire/option-requests.ts'
import { describeNbdExport, listNbdExports } from './nbd-exports.ts'
import { type ScriptedServerOptions, startScriptedServer, u32 } from './scripted-nbd-server.ts'
import { createTestAuthority } from './test-authority.ts'

const options = { signal: AbortSignal.timeout(60_000) }
const BLOCK_SIZES = { minimumBytes: 512, preferredBytes: 4096, maximumBytes: 65_536 }

function replies(option: number, type: number, ...payloads: readonly Buffer[]): Buffer {
  const all = payloads.map((payload) => encodeOptionReply(option, type, payload))
  return Buffer.concat([...all, encodeOptionReply(option, NBD_REP_ACK)])
}

/** A server with the exports `a`, `b` of which it only tells the name, and `c`, described as `d`. */
function answer(option: number, data: Buffer): Buffer | undefined {
  if (option === NBD_OPT_LIST) {
    return replies(option, NBD_REP_SERVER, encodeServer('a', 'first'), encodeServer('b', ''), encodeServer('c', ''))
  }
  if (option === NBD_OPT_LIST_META_CONTEXT) {
    if (decodeMetaContextRequest(data).queries?.length !== 0) return encodeOptionReply(option, NBD_REP_ERR_INVALID)
    return replies(option, NBD_REP_META_CONTEXT, encodeMetaContext(0, 'base:allocation'), encodeMetaContext(0, 'x:y'))
  }
  if (option !== NBD_OPT_INFO) return undefined
  const { exportName, infos } = decodeInfoRequest(data)
  const isComplete = [NBD_INFO_NAME, NBD_INFO_DESCRIPTION, NBD_INFO_BLOCK_SIZE].every((kind) => infos.includes(kind))
  if (!isComplete) return encodeOptionReply(option, NBD_REP_ERR_INVALID)
  if (exportName !== 'a' && exportName !== 'c') return encodeOptionReply(option, NBD_REP_ERR_UNKNOWN)
  const size = encodeExportInfo({ sizeBytes: 4096, flags: 3 })
  if (exportName === 'a') return replies(option, NBD_REP_INFO, size)
  const texts = [encodeNameInfo('c'), encodeDescriptionInfo('d'), encodeBlockSizeInfo(BLOCK_SIZES)]
  return replies(option, NBD_REP_INFO, ...texts, size)
}

const contexts = ['base:allocation', 'x:y']
const describedC = {
  exportName: 'c',
  description: 'd',
  facts: { sizeBytes: 4096, flags: 3, blockSizes: BLOCK_SIZES, contexts },
}

describe('what an NBD server exports', () => {
  test('is listed with all that the server says, and the connection ends in order', async () => {
    const asked: number[] = []
    const gone = Promise.withResolvers<void>()
    await using server = await startScriptedServer({
      answerOption: (option, data) => {
        asked.push(option)
        if (option === NBD_OPT_ABORT) gone.resolve()
        return answer(option, data)
      },
    })
    const listed = await listNbdExports(server.endpoint.address, options)
    expect(listed).toEqual({
      isSecure: false,
      replyStyle: 'structured',
      exports: [
        { exportName: 'a', description: 'first', facts: { sizeBytes: 4096, flags: 3, contexts } },
        { exportName: 'b', description: '' },
        describedC,
      ],
    })
    await gone.promise
    expect(asked.at(-1)).toBe(NBD_OPT_ABORT)
  })

  test('is described one by one, over TLS too', async () => {
    const authority = await createTestAuthority()
    const tls = await authority.issue({ names: ['localhost'] })
    await using server = await startScriptedServer({ tls, replyStyle: 'extended', answerOption: answer })
    const { address } = server.endpoint
    const found = await describeNbdExport(address, 'c', { ...options, tls: { caPem: authority.caPem } })
    expect(found).toEqual({ isSecure: true, replyStyle: 'extended', ...describedC })
    await expect(describeNbdExport(address, 'b', options)).rejects.toMatchObject({ code: 'nbd.export_not_found' })
  })

  test('without structured replies no contexts are asked for', async () => {
    await using server = await startScriptedServer({ replyStyle: 'simple', answerOption: answer })
    const found = await describeNbdExport(server.endpoint.address, 'c', options)
    expect(found).toMatchObject({ replyStyle: 'simple', facts: { contexts: [] } })
  })

  const refusals: Record<string, { option: number; bytes: Buffer; code: string }> = {
    'forbids the list': {
      option: NBD_OPT_LIST,
      bytes: encodeOptionReply(NBD_OPT_LIST, NBD_REP_ERR_POLICY),
      code: 'nbd.access_denied',
    },
    'has no lists': {
      option: NBD_OPT_LIST,
      bytes: encodeOptionReply(NBD_OPT_LIST, NBD_REP_ERR_UNSUP),
      code: 'nbd.unsupported',
    },
    'wants TLS first': {
      option: NBD_OPT_LIST,
      bytes: encodeOptionReply(NBD_OPT_LIST, NBD_REP_ERR_TLS_REQD),
      code: 'nbd.access_denied',
    },
    'lists without end': {
      option: NBD_OPT_LIST,
      bytes: Buffer.concat(
        Array.from({ length: 4100 }, () => encodeOptionReply(NBD_OPT_LIST, NBD_REP_SERVER, encodeServer('x', ''))),
      ),
      code: 'nbd.protocol_violation',
    },
    'lists a name longer than its reply': {
      option: NBD_OPT_LIST,
      bytes: encodeOptionReply(NBD_OPT_LIST, NBD_REP_SERVER, Buffer.concat([u32(9), Buffer.from('short')])),
      code: 'nbd.protocol_violation',
    },
    'lists a name that is no text': {
      option: NBD_OPT_LIST,
      bytes: encodeOptionReply(NBD_OPT_LIST, NBD_REP_SERVER, Buffer.concat([u32(2), Buffer.of(0xff, 0xfe)])),
      code: 'nbd.protocol_violation',
    },
    'describes without a size': {
      option: NBD_OPT_INFO,
      bytes: encodeOptionReply(NBD_OPT_INFO, NBD_REP_ACK),
      code: 'nbd.protocol_violation',
    },
    'lists contexts without end': {
      option: NBD_OPT_LIST_META_CONTEXT,
      bytes: Buffer.concat(
        Array.from({ length: 1025 }, () => {
          return encodeOptionReply(NBD_OPT_LIST_META_CONTEXT, NBD_REP_META_CONTEXT, encodeMetaContext(0, 'a:b'))
        }),
      ),
      code: 'nbd.protocol_violation',
    },
  }

  test.each(Object.entries(refusals))('a server that %s is refused', async (_, { option, bytes, code }) => {
    const script: ScriptedServerOptions = {
      answerOption: (asked, data) => (asked === option ? bytes : answer(asked, data)),
    }
    await using server = await startScriptedServer(script)
    await expect(listNbdExports(server.endpoint.address, options)).rejects.toMatchObject({ code })
  })

  test('a server that describes nothing lists names only, and says so of one', async () => {
    const script: ScriptedServerOptions = {
      answerOption: (option, data) => {
        return option === NBD_OPT_INFO ? encodeOptionReply(option, NBD_REP_ERR_UNSUP) : answer(option, data)
      },
    }
    await using server = await startScriptedServer(script)
    const { exports } = await listNbdExports(server.endpoint.address, options)
    expect(exports.map(({ facts }) => facts)).toEqual([undefined, undefined, undefined])
    const describing = describeNbdExport(server.endpoint.address, 'a', options)
    await expect(describing).rejects.toMatchObject({ code: 'nbd.unsupported' })
  })

  test('a server that stalls is nbd.timeout, and an abort does not wait for it', async () => {
    await using server = await startScriptedServer({ stallAfterBytes: 60, answerOption: answer })
    const { address } = server.endpoint
    const late = listNbdExports(address, { ...options, connectTimeoutMs: 30 })
    await expect(late).rejects.toMatchObject({ code: 'nbd.timeout' })
    const control = new AbortController()
    const listing = listNbdExports(address, { signal: control.signal })
    control.abort(new Error('enough'))
    await expect(listing).rejects.toThrow('enough')
  })
})
