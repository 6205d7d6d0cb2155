import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { type HostileProtocol, RawSshClient } from '../raw-ssh-client.ts'
import { readEd25519Key } from '../ssh/ed25519-key.ts'
import { PORTS, TestTunnel } from '../test-tunnel.ts'
import { usualSessionLimits } from './tunnel-session.ts'

const [PORT = 0] = PORTS
const MIB = 1024 * 1024

async function dial(tunnel: TestTunnel): Promise<Socket> {
  const socket = connect(tunnel.server.port, '127.0.0.1')
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}

/** Resolves when the server has closed it, with what it had said. */
async function closed(socket: Socket): Promise<string> {
  let said = ''
  socket.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')))
  if (!socket.closed) await once(socket, 'close', { signal: AbortSignal.timeout(20_000) })
  return said
}

/** Has the granted port forwarded and connects to it: the server asks to open its first channel, number 0. */
async function awaitChannel(tunnel: TestTunnel, client: RawSshClient): Promise<Socket> {
  client.protocol.tcpipForward('localhost', PORT, true)
  await client.until((text) => text === 'granted')
  const socket = await tunnel.connect(PORT, AbortSignal.timeout(20_000))
  await expect.poll(() => client.opened).toMatchObject([{ sender: 0 }])
  return socket
}

/** A capture agent that does as it should still gets through. */
async function expectUsable(tunnel: TestTunnel): Promise<void> {
  const client = tunnel.client()
  await client.waitUntilConnected({ signal: AbortSignal.timeout(30_000) })
  await client.setTarget(PORT, await tunnel.service((socket) => socket.end('fine')))
  const socket = await tunnel.connect(PORT, AbortSignal.timeout(20_000))
  let said = ''
  for await (const chunk of socket) said += String(chunk)
  expect(said).toBe('fine')
}

test('what is no SSH is cut off, whatever it is, and others are served', async () => {
  await using tunnel = await TestTunnel.open()
  const openings = {
    'a web browser': 'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
    'SSH 1': 'SSH-1.5-x\r\n',
    'binary': randomBytes(4096),
    'an endless line': Buffer.alloc(100_000, 'x'),
    'greetings without end': 'hello\r\n'.repeat(5000),
    'a packet of 4 GiB': Buffer.concat([Buffer.from('SSH-2.0-x\r\n'), Buffer.alloc(64, 0xff)]),
    'a packet of nothing': Buffer.concat([Buffer.from('SSH-2.0-x\r\n'), Buffer.alloc(64)]),
    'a log-in before keys': Buffer.concat([
      Buffer.from('SSH-2.0-x\r\n'),
      Buffer.from([0, 0, 0, 12, 10, 50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ]),
  }
  for (const [what, opening] of Object.entries(openings)) {
    const socket = await dial(tunnel)
    socket.write(opening)
    const said = await closed(socket)
    expect({ what, greeted: said.startsWith('SSH-2.0-sendense\r\n') }).toEqual({ what, greeted: true })
  }
  await expectUsable(tunnel)
})

test('who says nothing, or does not log in, is cut off when its time is up', async () => {
  await using tunnel = await TestTunnel.open({ sessionLimits: { ...usualSessionLimits, loginMs: 1000 } })
  const silent = await dial(tunnel)
  using unknown = await RawSshClient.connectForLogin(tunnel.server.port)
  expect(await closed(silent)).toMatch(/^SSH-2.0-sendense/)
  await unknown.over
  await expectUsable(tunnel)
})

test('log-ins without a known key are declined, told, and few', async () => {
  await using tunnel = await TestTunnel.open()
  using client = await RawSshClient.connectForLogin(tunnel.server.port)
  const { protocol } = client
  protocol.authNone('capture')
  protocol.authPassword('capture', 'secret')
  protocol.authKeyboard('capture')
  await expect.poll(() => client.heard.filter((text) => text === 'failure publickey')).toHaveLength(3)
  client.sign('capture', client.stranger())
  await expect.poll(() => client.heard.filter((text) => text === 'failure publickey')).toHaveLength(4)
  client.sign('enrol.guess', client.stranger())
  await expect.poll(() => client.heard.filter((text) => text === 'failure publickey')).toHaveLength(5)
  protocol.authPassword('root', 'secret')
  await client.over
  const told = tunnel.refusals.map(({ kind, what }) => `${kind}: ${what}`)
  expect(told[0]).toBe('login: log-in by password')
  expect(told[1]).toBe('login: log-in by keyboard-interactive')
  expect(told.slice(2, 4)).toEqual([
    expect.stringMatching(/^login: log-in with key SHA256:/),
    expect.stringMatching(/^login: log-in with key SHA256:/),
  ])
  expect(JSON.stringify(tunnel.refusals)).not.toContain('secret')
  expect(tunnel.server.connected()).toEqual([])
})

test('a known key is of no use without its private half', async () => {
  await using tunnel = await TestTunnel.open()
  using owner = await RawSshClient.logIn(tunnel.server.port, tunnel.key)
  using thief = await RawSshClient.connectForLogin(tunnel.server.port)
  thief.sign('capture', readEd25519Key(tunnel.key, 'known'), thief.stranger())
  await thief.until((text) => text === 'failure publickey')
  expect(owner.heard).toContain('success')
  await expect.poll(() => tunnel.refusals.map(({ what }) => what)).toEqual(['log-in with a false signature'])
})

test.each([
  ['a forwarding', (client: RawSshClient) => client.protocol.tcpipForward('localhost', PORT, true)],
  ['a channel', (client: RawSshClient) => client.protocol.session(1, MIB, 32_768)],
  ['data', (client: RawSshClient) => client.protocol.channelData(0, Buffer.alloc(10))],
])('%s before the log-in is not answered', async (what, send) => {
  await using tunnel = await TestTunnel.open()
  using client = await RawSshClient.connectForLogin(tunnel.server.port)
  send(client)
  if (what === 'data') client.protocol.session(1, MIB, 32_768)
  await client.over
  expect(client.heard.filter((text) => /granted|opened/.test(text))).toEqual([])
})

test('who asks for every port there is gets the granted ones, and is cut off soon', async () => {
  await using tunnel = await TestTunnel.open()
  using client = await RawSshClient.logIn(tunnel.server.port, tunnel.key)
  for (const port of PORTS) client.protocol.tcpipForward('localhost', port, true)
  await expect.poll(() => client.heard.filter((text) => text === 'granted')).toHaveLength(PORTS.length)
  for (let port = 0; port < 65_536 && !client.socket.destroyed; port++) {
    client.protocol.tcpipForward('localhost', port, true)
    if (port % 64 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await client.over
  expect(client.heard.filter((text) => text === 'granted')).toHaveLength(PORTS.length)
  expect(tunnel.refusals.length).toBeLessThanOrEqual(usualSessionLimits.refusalsMax)
  await expectUsable(tunnel)
})

test('thousands of channels that nobody granted end the connection, and are told of a bounded number of times', async () => {
  await using tunnel = await TestTunnel.open()
  using client = await RawSshClient.logIn(tunnel.server.port, tunnel.key)
  for (let channel = 0; channel < 5000; channel++) client.protocol.session(channel, MIB, 32_768)
  await client.over
  expect(tunnel.refusals).toHaveLength(usualSessionLimits.refusalsMax)
  expect(tunnel.refusals[0]).toMatchObject({ kind: 'request', what: 'channel session', name: 'host-1' })
  await expectUsable(tunnel)
})

test('who asks and does not read the answers is cut off before they fill the memory', async () => {
  await using tunnel = await TestTunnel.open()
  using client = await RawSshClient.logIn(tunnel.server.port, tunnel.key)
  await awaitChannel(tunnel, client)
  client.protocol.channelOpenConfirm(0, 7, MIB, 32_768)
  client.socket.pause()
  // SSH_MSG_CHANNEL_REQUEST of the one kind that is answered and not counted (RFC 4254, 5.4).
  const name = Buffer.from('keepalive@openssh.com')
  const request = Buffer.concat([Buffer.from([98, 0, 0, 0, 0, 0, 0, 0, name.length]), name, Buffer.of(1)])
  const signal = AbortSignal.timeout(60_000)
  while (!client.socket.destroyed) {
    signal.throwIfAborted()
    for (let count = 0; count < 2000; count++) client.send(request)
    await new Promise((resolve) => setImmediate(resolve))
    if (client.socket.writableNeedDrain) await Promise.race([once(client.socket, 'drain'), client.over])
  }
  await expect.poll(() => tunnel.server.connected(), { timeout: 10_000 }).toEqual([])
  await expectUsable(tunnel)
})

test('a peer that sends beyond its window is cut off', async () => {
  await using tunnel = await TestTunnel.open()
  using client = await RawSshClient.logIn(tunnel.server.port, tunnel.key)
  // Nobody reads what comes out of it.
  const socket = await awaitChannel(tunnel, client)
  expect(client.opened[0]?.window).toBe(4 * MIB)
  client.protocol.channelOpenConfirm(0, 7, MIB, 32_768)
  for (let sent = 0; sent < 64 * MIB && !client.socket.destroyed; sent += 32_768) {
    client.protocol.channelData(0, Buffer.alloc(32_768))
    if (sent % MIB === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await client.over
  expect(socket.destroyed).toBe(false)
  await expectUsable(tunnel)
})

const confirm = (protocol: HostileProtocol): void => protocol.channelOpenConfirm(0, 7, MIB, 32_768)
const misuses: Record<string, (protocol: HostileProtocol) => void> = {
  'packets of one byte': (protocol) => protocol.channelOpenConfirm(0, 7, MIB, 1),
  'a window without end': (protocol) => {
    confirm(protocol)
    protocol.channelWindowAdjust(0, 0xff_ff_ff_ff)
  },
  'error output': (protocol) => {
    confirm(protocol)
    protocol.channelExtData(0, Buffer.alloc(10), 1)
  },
  'data after its end': (protocol) => {
    confirm(protocol)
    protocol.channelEOF(0)
    protocol.channelData(0, Buffer.alloc(10))
  },
  'the number of another': (protocol) => protocol.channelOpenConfirm(1, 7, MIB, 32_768),
}

test.each(Object.entries(misuses))('a channel with %s ends the connection', async (_what, misuse) => {
  await using tunnel = await TestTunnel.open()
  using client = await RawSshClient.logIn(tunnel.server.port, tunnel.key)
  await awaitChannel(tunnel, client)
  misuse(client.protocol)
  await client.over
  await expect.poll(() => tunnel.server.connected()).toEqual([])
})

test('strangers cannot keep a capture agent out by holding connections', async () => {
  const gateLimits = { pendingMax: 8, pendingPerAddressMax: 1000, perMinute: 1000 }
  await using tunnel = await TestTunnel.open({ gateLimits })
  const held = await Promise.all(Array.from({ length: 20 }, async () => (await dial(tunnel)).resume()))
  // The oldest had to go for the youngest.
  await expect.poll(() => held.filter((socket) => !socket.closed).length, { timeout: 20_000 }).toBeLessThanOrEqual(8)
  await expectUsable(tunnel)
})

test('one address is turned away when it comes too often, which is told once', async () => {
  const gateLimits = { pendingMax: 64, pendingPerAddressMax: 64, perMinute: 5 }
  await using tunnel = await TestTunnel.open({ gateLimits })
  const sockets = await Promise.all(Array.from({ length: 12 }, async () => await dial(tunnel)))
  await expect.poll(() => sockets.filter((socket) => socket.closed).length, { timeout: 20_000 }).toBe(7)
  expect(tunnel.refusals.map(({ kind }) => kind)).toEqual(['flood'])
})
