import { beforeAll, describe, expect, test } from 'vitest'
import { describeBlockSink } from '../../block/block-sink.conformance.ts'
import { describeBlockSource } from '../../block/block-source.conformance.ts'
import { createMemoryDisk } from '../../block/memory-disk.ts'
import { openNbdSink } from '../client/nbd-sink.ts'
import { openNbdSource } from '../client/nbd-source.ts'
import { createTestAuthority, type TestAuthority, type TestCertificate } from '../client/test-authority.ts'
import { encodeOption } from '../wire/handshake-options.ts'
import {
  NBD_CMD_FLUSH,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_LIST,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_TLS_REQD,
} from '../wire/nbd-constants.ts'
import { NbdServer } from './nbd-server.ts'
import { infoData, RawNbdClient } from './raw-nbd-client.ts'
import { openTemporaryNbdServer, type TemporaryNbdServer } from './temporary-nbd-server.ts'

const SIZE_BYTES = 256 * 1024
const signal = AbortSignal.timeout(120_000)
const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES })

let authority: TestAuthority
let other: TestAuthority
let own: TestCertificate

beforeAll(async () => {
  authority = await createTestAuthority()
  other = await createTestAuthority()
  own = await authority.issue({ names: ['localhost'] })
})

async function openServer({
  checksClients = false,
  source = disk,
  handshakeTimeoutMs = 30_000,
} = {}): Promise<TemporaryNbdServer> {
  const client = checksClients ? { clientCa: authority.caPem } : {}
  const tls = { mode: 'required', key: own.keyPem, certificate: own.certificatePem, ...client } as const
  return await openTemporaryNbdServer([{ name: 'd', source, sink: source }], { tls, handshakeTimeoutMs })
}

function secured(server: TemporaryNbdServer, client?: TestCertificate) {
  const identity = client === undefined ? {} : { client }
  return { ...server.endpoint(), tls: { caPem: authority.caPem, ...identity } }
}

function owning<T extends AsyncDisposable>(one: T, server: TemporaryNbdServer): T {
  const dispose = one[Symbol.asyncDispose].bind(one)
  return Object.assign(one, {
    [Symbol.asyncDispose]: async () => {
      await dispose()
      await server[Symbol.asyncDispose]()
    },
  })
}

describeBlockSource('our own client and server over TLS with client certificates', async () => {
  const source = createMemoryDisk({ sizeBytes: SIZE_BYTES })
  await source.write(5000, new Uint8Array(100_000).fill(7), { signal })
  const server = await openServer({ checksClients: true, source })
  const endpoint = secured(server, await authority.issue({ names: ['client'] }))
  return { source: owning(await openNbdSource(endpoint, { signal }), server), content: source.bytes.slice() }
})

describeBlockSink('our own client and server over TLS', async () => {
  const source = createMemoryDisk({ sizeBytes: SIZE_BYTES })
  const server = await openServer({ source })
  const sink = owning(await openNbdSink(secured(server), { signal }), server)
  return { sink, readBack: async () => source.bytes.slice() }
})

/** A raw client that has asked for TLS and may begin with it. */
async function startedTls(server: TemporaryNbdServer): Promise<RawNbdClient> {
  const client = await RawNbdClient.connect(server.socketPath)
  await client.greet()
  expect(await client.option(NBD_OPT_STARTTLS)).toMatchObject([{ type: NBD_REP_ACK }])
  return client
}

describe('a server that insists on TLS', () => {
  test('answers nothing before it but STARTTLS and ABORT', async () => {
    await using server = await openServer()
    await using client = await RawNbdClient.connect(server.socketPath)
    await client.greet()
    for (let option = 3; option < 20; option += 1) {
      if (option === NBD_OPT_STARTTLS) continue
      expect(await client.option(option, infoData('d'))).toMatchObject([{ type: NBD_REP_ERR_TLS_REQD }])
    }
    expect(await client.option(NBD_OPT_ABORT)).toMatchObject([{ type: NBD_REP_ACK }])
    await using old = await RawNbdClient.connect(server.socketPath)
    await old.greet()
    old.send(encodeOption(NBD_OPT_EXPORT_NAME, Buffer.from('d')))
    expect(await old.receiveToEnd()).toHaveLength(0)
  })

  test('goes through the whole handshake inside it, once', async () => {
    await using server = await openServer()
    await using client = await startedTls(server)
    await client.secure({ ca: authority.caPem, servername: 'localhost' })
    expect(await client.option(NBD_OPT_STARTTLS)).toMatchObject([{ type: NBD_REP_ERR_INVALID }])
    expect(await client.option(NBD_OPT_LIST)).toHaveLength(2)
    expect(await client.option(NBD_OPT_STRUCTURED_REPLY)).toMatchObject([{ type: NBD_REP_ACK }])
    await client.option(NBD_OPT_GO, infoData('d'))
    expect(await client.ask({ command: NBD_CMD_FLUSH })).toMatchObject([{ errorNumber: 0 }])
  })

  test('refuses data with STARTTLS', async () => {
    await using server = await openServer()
    await using client = await RawNbdClient.connect(server.socketPath)
    await client.greet()
    expect(await client.option(NBD_OPT_STARTTLS, Buffer.from('x'))).toMatchObject([{ type: NBD_REP_ERR_INVALID }])
    expect(await client.option(NBD_OPT_STARTTLS)).toMatchObject([{ type: NBD_REP_ACK }])
  })

  test('a client without it, or that trusts somebody else, gets nowhere', async () => {
    await using server = await openServer()
    await expect(openNbdSource(server.endpoint(), { signal })).rejects.toMatchObject({ code: 'nbd.access_denied' })
    const mistrusting = { ...server.endpoint(), tls: { caPem: other.caPem } }
    await expect(openNbdSource(mistrusting, { signal })).rejects.toMatchObject({ code: 'nbd.tls_failed' })
  })

  test('what was said before it is not taken for something said inside it', async () => {
    await using server = await openServer()
    await using client = await RawNbdClient.connect(server.socketPath)
    await client.greet()
    client.send(encodeOption(NBD_OPT_STARTTLS), encodeOption(NBD_OPT_LIST))
    const [answer] = await client.optionReplies(NBD_OPT_STARTTLS)
    expect(answer).toMatchObject({ type: NBD_REP_ACK })
    expect(await client.receiveToEnd()).toHaveLength(0)
  })

  test.each([
    ['garbage', async (client: RawNbdClient) => client.send(Buffer.alloc(4000, 0x16))],
    ['plain options', async (client: RawNbdClient) => client.send(encodeOption(NBD_OPT_LIST))],
    ['nothing', async () => undefined],
  ])('%s instead of its handshake is cut off, and others are served on', async (_, attack) => {
    await using server = await openServer({ handshakeTimeoutMs: 500 })
    await using client = await startedTls(server)
    await attack(client)
    const said = await client.receiveToEnd()
    expect(said.includes('NBD')).toBe(false)
    await using source = await openNbdSource(secured(server), { signal })
    expect(source.sizeBytes).toBe(SIZE_BYTES)
  })

  test('speaks nothing older than TLS 1.2', async () => {
    await using server = await openServer()
    await using client = await startedTls(server)
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' } as const
    await expect(client.secure({ ca: authority.caPem, servername: 'localhost', ...old })).rejects.toThrow(
      /version|alert/,
    )
  })
})

test('keys and certificates that are none, or of two pairs, are refused before anybody connects', async () => {
  const stranger = await other.issue({ names: ['localhost'] })
  const fine = { mode: 'required', key: own.keyPem, certificate: own.certificatePem } as const
  for (const wrong of [{ key: 'none' }, { certificate: 'none' }, { key: stranger.keyPem }, { clientCa: 'none' }]) {
    const make = () => new NbdServer({ tls: { ...fine, ...wrong } })
    expect(make).toThrow(expect.objectContaining({ code: 'input.invalid' }))
  }
})

describe('a server that checks its clients', () => {
  const strangers: Record<string, () => Promise<TestCertificate | undefined>> = {
    'without a certificate': async () => undefined,
    'with a certificate of somebody else': async () => await other.issue({ names: ['client'] }),
    'with a certificate that is over': async () => {
      const hourAgo = new Date(Date.now() - 3_600_000)
      return await authority.issue({ names: ['client'], validFrom: hourAgo, validUntil: new Date(Date.now() - 60_000) })
    },
  }

  test.each(Object.entries(strangers))('lets in no client %s', async (_, makeCertificate) => {
    await using server = await openServer({ checksClients: true })
    const certificate = await makeCertificate()
    const opening = openNbdSource(secured(server, certificate), { signal })
    await expect(opening).rejects.toMatchObject({
      code: expect.stringMatching(/^nbd\.(tls_failed|disconnected)$/) as string,
    })
    await using raw = await startedTls(server)
    const identity = certificate === undefined ? {} : { cert: certificate.certificatePem, key: certificate.keyPem }
    // In TLS 1.3 the client is done before the server has judged it.
    await Promise.allSettled([raw.secure({ ca: authority.caPem, servername: 'localhost', ...identity })])
    raw.send(encodeOption(NBD_OPT_LIST))
    expect(await raw.receiveToEnd()).toHaveLength(0)
  })

  test('lets in one with a certificate of its authority', async () => {
    await using server = await openServer({ checksClients: true })
    await using source = await openNbdSource(secured(server, await authority.issue({ names: ['client'] })), { signal })
    expect(source.sizeBytes).toBe(SIZE_BYTES)
  })
})
