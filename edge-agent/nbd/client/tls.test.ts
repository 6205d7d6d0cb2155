import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { describe, expect, test } from 'vitest'
import { NbdEndpoint, type NbdTls } from '../../block/block-endpoint.ts'
import {
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_STARTTLS,
  NBD_REP_ACK,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_TLS_REQD,
  NBD_REPLY_TYPE_OFFSET_DATA,
} from '../wire/nbd-constants.ts'
import { encodeOptionReply } from '../wire/option-replies.ts'
import { openNbdConnection } from './nbd-connection.ts'
import { openNbdSource } from './nbd-source.ts'
import {
  chunk,
  type ScriptedRequest,
  type ScriptedServerOptions,
  startScriptedServer,
  u64,
} from './scripted-nbd-server.ts'
import { createTestAuthority, type TestCertificate } from './test-authority.ts'

const signal = AbortSignal.timeout(60_000)
const authority = await createTestAuthority()
const stranger = await createTestAuthority()
const localhost = await authority.issue({ names: ['localhost'] })

/** A read is answered with its own length of sevens. */
function answerSevens(request: ScriptedRequest, socket: Socket): void {
  const payload = Buffer.concat([u64(BigInt(request.offsetBytes)), Buffer.alloc(request.lengthBytes, 7)])
  socket.write(chunk(request.cookie, NBD_REPLY_TYPE_OFFSET_DATA, payload))
}

async function startTlsServer(tls: NonNullable<ScriptedServerOptions['tls']>, tlsOptions: Partial<NbdTls> = {}) {
  const server = await startScriptedServer({ tls, onRequest: answerSevens })
  const endpoint = { ...server.endpoint, tls: { caPem: authority.caPem, ...tlsOptions } }
  return { endpoint, [Symbol.asyncDispose]: async () => await server[Symbol.asyncDispose]() }
}

describe('NBD over TLS', () => {
  test('everything after the start of TLS is encrypted, options too, and reads arrive whole', async () => {
    const options: number[] = []
    const answerOption = (option: number): undefined => void options.push(option)
    await using server = await startScriptedServer({ tls: localhost, onRequest: answerSevens, answerOption })
    await using source = await openNbdSource({ ...server.endpoint, tls: { caPem: authority.caPem } }, { signal })
    expect(options.slice(0, 2)).toEqual([NBD_OPT_STARTTLS, NBD_OPT_EXTENDED_HEADERS])
    const into = new Uint8Array(300_000)
    await source.read(1000, into, { signal })
    expect(into.every((byte) => byte === 7)).toBe(true)
  })

  test('a read aborted while its data arrives is answered, and the connection works on', async () => {
    await using server = await startTlsServer(localhost)
    await using source = await openNbdSource(server.endpoint, { signal })
    const control = new AbortController()
    const read = source.read(0, new Uint8Array(500_000), { signal: control.signal })
    control.abort(new Error('enough'))
    await expect(read).rejects.toThrow('enough')
    const into = new Uint8Array(512)
    await source.read(0, into, { signal })
    expect(into.every((byte) => byte === 7)).toBe(true)
  })

  const distrusted: Record<string, () => Promise<{ certificate: TestCertificate; tls?: Partial<NbdTls> }>> = {
    'signed by somebody else': async () => ({ certificate: await stranger.issue({ names: ['localhost'] }) }),
    'for another host': async () => ({ certificate: await authority.issue({ names: ['elsewhere.example'] }) }),
    'for another address': async () => {
      return { certificate: await authority.issue({ names: ['10.0.0.1'] }), tls: { serverName: '10.0.0.2' } }
    },
    'not for the name asked for': async () => ({ certificate: localhost, tls: { serverName: 'disk.example' } }),
    'that ended yesterday': async () => {
      const validFrom = new Date(Date.now() - 7_200_000)
      const validUntil = new Date(Date.now() - 3_600_000)
      return { certificate: await authority.issue({ names: ['localhost'], validFrom, validUntil }) }
    },
    'that begins tomorrow': async () => {
      const validFrom = new Date(Date.now() + 1_800_000)
      return { certificate: await authority.issue({ names: ['localhost'], validFrom }) }
    },
  }

  test.each(Object.entries(distrusted))('a certificate %s is refused', async (_, make) => {
    const { certificate, tls } = await make()
    await using server = await startTlsServer(certificate, tls)
    await expect(openNbdConnection(server.endpoint, { signal })).rejects.toMatchObject({ code: 'nbd.tls_failed' })
  })

  test('a name and an address that the certificate has are accepted', async () => {
    const certificate = await authority.issue({ names: ['disk.example', '10.0.0.1'] })
    for (const serverName of ['disk.example', '10.0.0.1']) {
      await using server = await startTlsServer(certificate, { serverName })
      await using connection = await openNbdConnection(server.endpoint, { signal })
      expect(connection.session.sizeBytes).toBe(1024 * 1024)
    }
  })

  test('a server that asks who we are is told', async () => {
    const client = await authority.issue({ names: ['agent-7'] })
    let peer: string | undefined
    await using server = await startScriptedServer({
      tls: { ...localhost, clientCaPem: authority.caPem },
      onRequest: (request, socket) => {
        if (socket instanceof TLSSocket) peer = String(socket.getPeerCertificate().subject.CN)
        answerSevens(request, socket)
      },
    })
    const endpoint = { ...server.endpoint, tls: { caPem: authority.caPem, client } }
    await using source = await openNbdSource(endpoint, { signal })
    await source.read(0, new Uint8Array(512), { signal })
    expect(peer).toBe('agent-7')
  })

  const ack = encodeOptionReply(NBD_OPT_STARTTLS, NBD_REP_ACK)
  const untrusted: Record<string, { answer: Buffer; insteadOfTls?: Buffer; code: string }> = {
    'has none': { answer: encodeOptionReply(NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY), code: 'nbd.tls_failed' },
    'agrees and then does not': { answer: ack, insteadOfTls: Buffer.alloc(64, 1), code: 'nbd.tls_failed' },
    'sends on in the clear': { answer: Buffer.concat([ack, Buffer.alloc(8)]), code: 'nbd.protocol_violation' },
  }

  test.each(Object.entries(untrusted))('a server that %s is refused', async (_, { answer, code, ...script }) => {
    const answerOption = (option: number) => (option === NBD_OPT_STARTTLS ? answer : undefined)
    await using server = await startScriptedServer({ ...script, answerOption })
    const endpoint = { ...server.endpoint, tls: { caPem: authority.caPem } }
    await expect(openNbdConnection(endpoint, { signal })).rejects.toMatchObject({ code })
  })

  test('a server that does nothing without TLS is nbd.access_denied, and the message says why', async () => {
    await using server = await startScriptedServer({
      answerOption: (option) => encodeOptionReply(option, NBD_REP_ERR_TLS_REQD),
    })
    const opening = openNbdConnection(server.endpoint, { signal })
    await expect(opening).rejects.toMatchObject({ code: 'nbd.access_denied', message: expect.stringContaining('TLS') })
  })

  test('a server that vanishes while TLS is set up is nbd.disconnected', async () => {
    await using server = await startScriptedServer({
      answerOption: (option) => {
        if (option === NBD_OPT_STARTTLS) setImmediate(() => server.cut())
        return undefined
      },
      tls: localhost,
    })
    const endpoint = { ...server.endpoint, tls: { caPem: authority.caPem } }
    await expect(openNbdConnection(endpoint, { signal })).rejects.toMatchObject({ code: 'nbd.disconnected' })
  })

  test('certificates and keys that cannot be read are nbd.tls_failed', async () => {
    await using server = await startScriptedServer({ tls: localhost })
    const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
    const client = { certificatePem: localhost.certificatePem, keyPem: broken }
    for (const tls of [{ caPem: broken }, { caPem: authority.caPem, client }]) {
      const opening = openNbdConnection({ ...server.endpoint, tls }, { signal })
      await expect(opening).rejects.toMatchObject({ code: 'nbd.tls_failed' })
    }
  })

  test('an endpoint cannot ask for TLS without a check of the server', () => {
    const endpoint = { kind: 'nbd', address: { transport: 'unix', path: '/s' }, exportName: '' }
    const tls = { caPem: authority.caPem }
    expect(NbdEndpoint.safeParse({ ...endpoint, tls }).success).toBe(true)
    for (const without of [{}, { ...tls, rejectUnauthorized: false }, { ...tls, verifyPeer: false }, { caPem: '' }]) {
      expect(NbdEndpoint.safeParse({ ...endpoint, tls: without }).success).toBe(false)
    }
  })
})
