import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { usualSessionLimits } from './server/tunnel-session.ts'
import { PORTS, readAll, TestTunnel } from './test-tunnel.ts'
import type { TunnelClient } from './tunnel-client.ts'

const [PORT = 0, OTHER_PORT = 0] = PORTS

function deadline(): AbortSignal {
  return AbortSignal.timeout(30_000)
}

async function openEcho(client: TunnelClient, tunnel: TestTunnel): Promise<void> {
  await client.setTarget(PORT, await tunnel.service((socket) => socket.pipe(socket)))
  await client.waitUntilConnected({ signal: deadline() })
}

test('bytes pass unchanged both ways at the same time, and the end of one half reaches the other side', async () => {
  await using tunnel = await TestTunnel.open()
  await openEcho(tunnel.client(), tunnel)
  const sent = randomBytes(20 * 1024 * 1024 + 12_345)
  const socket = await tunnel.connect(PORT, deadline())
  socket.end(sent)
  expect((await readAll(socket)).equals(sent)).toBe(true)
})

test('a target that speaks first, and one that answers only after the end of the question', async () => {
  await using tunnel = await TestTunnel.open()
  const client = tunnel.client()
  await client.waitUntilConnected({ signal: deadline() })
  await client.setTarget(
    PORT,
    await tunnel.service((socket) => {
      socket.write('hello')
      void readAll(socket).then((question) => socket.end(`heard ${question.length}`))
    }),
  )
  const socket = await tunnel.connect(PORT, deadline())
  const [greeting] = (await once(socket, 'data', { signal: deadline() })) as [Buffer]
  expect(greeting.toString()).toBe('hello')
  socket.end(Buffer.alloc(100_000))
  expect((await readAll(socket)).toString()).toBe('heard 100000')
})

test('connections are spread over the tunnels of a capture agent', async () => {
  // Each tunnel takes half of them, and declines more.
  await using tunnel = await TestTunnel.open({ sessionLimits: { ...usualSessionLimits, channelsMax: 4 } })
  const client = tunnel.client({ tunnels: 2 })
  await openEcho(client, tunnel)
  await expect.poll(() => client.state.tunnels, { timeout: 20_000 }).toBe(2)
  expect(client.state).toEqual({ state: 'connected', tunnels: 2, tunnelsWanted: 2, lastError: undefined })
  const sent = randomBytes(3 * 1024 * 1024)
  const sockets = await Promise.all(Array.from({ length: 8 }, async () => await tunnel.connect(PORT, deadline())))
  await expect.poll(() => tunnel.server.connected()[0]?.channels).toBe(8)
  for (const socket of sockets) socket.end(sent)
  for (const socket of sockets) expect((await readAll(socket)).equals(sent)).toBe(true)
  await expect.poll(() => tunnel.server.connected()[0]?.channels).toBe(0)
})

test('a port without a target ends connections at once without a byte, and leads on when it has one', async () => {
  await using tunnel = await TestTunnel.open()
  const client = tunnel.client()
  await client.waitUntilConnected({ signal: deadline() })
  expect(await readAll(await tunnel.connect(OTHER_PORT, deadline()))).toHaveLength(0)
  await client.setTarget(OTHER_PORT, { path: path.join(tunnel.directory, 'nobody.sock') })
  expect(await readAll(await tunnel.connect(OTHER_PORT, deadline()))).toHaveLength(0)
  await client.setTarget(OTHER_PORT, await tunnel.service((socket) => socket.end('there')))
  expect((await readAll(await tunnel.connect(OTHER_PORT, deadline()))).toString()).toBe('there')
  await client.setTarget(OTHER_PORT, undefined)
  expect(await readAll(await tunnel.connect(OTHER_PORT, deadline()))).toHaveLength(0)
  await expect(client.setTarget(1, undefined)).rejects.toMatchObject({ code: 'tunnel.port_not_granted' })
})

test('a forwarded port is a socket of the agent user alone, and goes with the tunnel', async () => {
  await using tunnel = await TestTunnel.open()
  const client = tunnel.client()
  await client.waitUntilConnected({ signal: deadline() })
  await tunnel.server.waitForPort(tunnel.captureAgentId, PORT, { signal: deadline() })
  const file = tunnel.server.socketPath(tunnel.captureAgentId, PORT)
  expect(file).toBe(path.join(tunnel.directory, 'tunnel', tunnel.captureAgentId, `${PORT}.sock`))
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  expect((await stat(path.dirname(file))).mode & 0o777).toBe(0o700)
  expect((await stat(path.dirname(path.dirname(file)))).mode & 0o777).toBe(0o700)
  expect((await stat(path.join(tunnel.directory, 'state', 'tunnel-host.key'))).mode & 0o777).toBe(0o600)
  await client[Symbol.asyncDispose]()
  await expect.poll(() => tunnel.server.connected()).toEqual([])
  await expect.poll(async () => await stat(file).catch(() => 'gone')).toBe('gone')
})
