import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdir, rm } from 'node:fs/promises'
import type { Socket } from 'node:net'
import path from 'node:path'
import process from 'node:process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { CuttableWire } from './cuttable-wire.ts'
import { usualTimes } from './ssh/ssh-transport.ts'
import { over, PORTS, readAll, TestTunnel } from './test-tunnel.ts'
import type { TunnelClient } from './tunnel-client.ts'

const [PORT = 0] = PORTS
const MIB = 1024 * 1024
const patient = { timeout: 30_000 }

function deadline(): AbortSignal {
  return AbortSignal.timeout(60_000)
}

/** A service that sends without end, and counts what it could send. */
async function openEndless(tunnel: TestTunnel, client: TunnelClient): Promise<{ sentBytes: number }> {
  const seen = { sentBytes: 0 }
  const chunk = randomBytes(64 * 1024)
  const target = await tunnel.service((socket) => {
    const go = (): void => {
      while (!socket.destroyed) {
        const takesMore = socket.write(chunk)
        seen.sentBytes += chunk.length
        if (takesMore) continue
        socket.once('drain', go)
        return
      }
    }
    go()
  })
  await client.setTarget(PORT, target)
  return seen
}

async function expectEcho(tunnel: TestTunnel, client: TunnelClient): Promise<void> {
  await client.setTarget(PORT, await tunnel.service((socket) => socket.pipe(socket)))
  await client.waitUntilConnected({ signal: deadline() })
  const sent = randomBytes(MIB)
  const socket = await tunnel.connect(PORT, deadline())
  socket.end(sent)
  expect((await readAll(socket)).equals(sent)).toBe(true)
}

async function childrenOf(program: string): Promise<number[]> {
  const { stdout } = await promisify(execFile)('ps', ['-o', 'pid=,args=', '--ppid', String(process.pid)])
  const lines = stdout.split('\n').filter((line) => line.includes(program))
  return lines.map((line) => Number.parseInt(line, 10))
}

test('a connection that is cut in the middle ends what ran through it, and is made again', async () => {
  await using tunnel = await TestTunnel.open()
  await using wire = await CuttableWire.open(tunnel.server.port)
  const client = tunnel.client({ address: { host: '127.0.0.1', port: wire.port } })
  const seen = await openEndless(tunnel, client)
  const socket = await tunnel.connect(PORT, deadline())
  socket.resume()
  await expect.poll(() => seen.sentBytes, patient).toBeGreaterThan(10 * MIB)
  wire.cut()
  await over(socket)
  await expect.poll(() => client.state.lastError?.code, patient).toBe('tunnel.disconnected')
  await expectEcho(tunnel, client)
})

test('a network that falls silent is noticed on both sides, and left', async () => {
  const times = { ...usualTimes, keepaliveMs: 200, keepaliveMisses: 2 }
  await using tunnel = await TestTunnel.open({ times })
  await using wire = await CuttableWire.open(tunnel.server.port)
  const client = tunnel.client({ address: { host: '127.0.0.1', port: wire.port }, times })
  await expectEcho(tunnel, client)
  const idle = await tunnel.connect(PORT, deadline())
  wire.fallSilent()
  await over(idle)
  await expect.poll(() => tunnel.server.connected(), patient).toEqual([])
  await expect.poll(() => client.state.state, patient).toBe('waiting')
  expect(client.state.lastError).toMatchObject({ code: 'tunnel.disconnected' })
  wire.speak()
  wire.cut()
  await expectEcho(tunnel, client)
})

test('a quiet connection stays up because the other side gives signs of life', async () => {
  const times = { ...usualTimes, keepaliveMs: 100, keepaliveMisses: 20 }
  await using tunnel = await TestTunnel.open({ times })
  const client = tunnel.client({ times })
  await client.waitUntilConnected({ signal: deadline() })
  // Longer than it would be kept without any.
  await new Promise((resolve) => setTimeout(resolve, 3000))
  expect(client.state).toMatchObject({ state: 'connected', lastError: undefined })
  expect(tunnel.server.connected()).toHaveLength(1)
})

test('an edge agent that starts again has the same host key and is found again', async () => {
  await using tunnel = await TestTunnel.open()
  const client = tunnel.client()
  await expectEcho(tunnel, client)
  const { port, hostKeyFingerprint } = tunnel.server
  await tunnel.stopServer()
  await expect.poll(() => client.state.state, patient).toBe('waiting')
  await tunnel.startServer(port)
  expect(tunnel.server.hostKeyFingerprint).toBe(hostKeyFingerprint)
  await expectEcho(tunnel, client)
})

test('an edge agent with another host key is never spoken to, however often it is tried', async () => {
  await using tunnel = await TestTunnel.open()
  const client = tunnel.client()
  await expectEcho(tunnel, client)
  const { port } = tunnel.server
  await tunnel.stopServer()
  await rm(path.join(tunnel.directory, 'state'), { recursive: true })
  await tunnel.startServer(port)
  await expect.poll(() => client.state.lastError?.code, patient).toBe('tunnel.host_key_mismatch')
  const first = client.state.lastError?.at
  await expect.poll(() => client.state.lastError?.at, patient).not.toBe(first)
  expect(client.state).toMatchObject({ state: 'waiting', lastError: { code: 'tunnel.host_key_mismatch' } })
  expect(tunnel.server.connected()).toEqual([])
  // It has not even shown its key.
  expect(tunnel.refusals).toEqual([])
})

test('a key that is revoked in the middle of a transfer ends it, and is not let in again', async () => {
  await using tunnel = await TestTunnel.open()
  const client = tunnel.client({ tunnels: 2 })
  await expect.poll(() => client.state.tunnels, patient).toBe(2)
  const seen = await openEndless(tunnel, client)
  const socket = await tunnel.connect(PORT, deadline())
  socket.resume()
  await expect.poll(() => seen.sentBytes, patient).toBeGreaterThan(10 * MIB)
  tunnel.grants.revoke(tunnel.captureAgentId)
  await over(socket)
  await expect.poll(() => client.state.lastError?.code, patient).toBe('tunnel.login_refused')
  await expect.poll(() => client.state.tunnels, patient).toBe(0)
  expect(tunnel.server.connected()).toEqual([])
  expect(tunnel.refusals[0]).toMatchObject({ kind: 'login', what: expect.stringContaining('log-in with key SHA256:') })
})

test('nothing is read faster than the other side takes it, from the service nor to it', async () => {
  await using tunnel = await TestTunnel.open()
  const client = tunnel.client()
  await client.waitUntilConnected({ signal: deadline() })
  // What may be under way: the channel's window, and what sockets and their two ends keep.
  const bound = 4 * MIB + 8 * MIB
  const seen = await openEndless(tunnel, client)
  const socket = await tunnel.connect(PORT, deadline())
  socket.pause()
  const rest = await restOf(() => seen.sentBytes)
  expect(rest).toBeGreaterThan(0)
  expect(rest).toBeLessThan(bound)
  socket.resume()
  await expect.poll(() => seen.sentBytes, patient).toBeGreaterThan(rest + 4 * bound)
  socket.destroy()

  let deaf: Socket | undefined
  await client.setTarget(PORT, await tunnel.service((taken) => (deaf = taken.pause())))
  const sender = await tunnel.connect(PORT, deadline())
  let sentBytes = 0
  const chunk = randomBytes(64 * 1024)
  const go = (): void => {
    while (!sender.destroyed && sender.write(chunk)) sentBytes += chunk.length
    sender.once('drain', go)
  }
  go()
  const stopped = await restOf(() => sentBytes)
  expect(stopped).toBeLessThan(bound)
  deaf?.resume()
  await expect.poll(() => sentBytes, patient).toBeGreaterThan(stopped + 4 * bound)
})

/** What a number is when it has not changed for a while. */
async function restOf(read: () => number): Promise<number> {
  for (let before = -1; ; before = read()) {
    await new Promise((resolve) => setTimeout(resolve, 700))
    if (read() === before && before > 0) return before
  }
}

test('keys are exchanged again under load, whoever wants it', async () => {
  const times = { ...usualTimes, rekeyBytes: MIB }
  await using tunnel = await TestTunnel.open({ times })
  const client = tunnel.client({ times: { ...usualTimes, rekeyBytes: 3 * MIB } })
  await client.setTarget(PORT, await tunnel.service((socket) => socket.pipe(socket)))
  await client.waitUntilConnected({ signal: deadline() })
  const sent = randomBytes(20 * MIB)
  const sockets = await Promise.all([1, 2, 3].map(async () => await tunnel.connect(PORT, deadline())))
  for (const socket of sockets) socket.end(sent)
  for (const socket of sockets) expect((await readAll(socket)).equals(sent)).toBe(true)
  expect(client.state.lastError).toBeUndefined()
})

test('a process that dies takes its connections with it, and is replaced', async () => {
  await using tunnel = await TestTunnel.open()
  const client = tunnel.client()
  await expectEcho(tunnel, client)
  for (const program of ['session-process', 'dial-process']) {
    const socket = await tunnel.connect(PORT, deadline())
    const [pid] = await childrenOf(program)
    expect(pid).toBeGreaterThan(0)
    process.kill(pid ?? 0, 'SIGKILL')
    await over(socket)
    await expect.poll(() => client.state.state, patient).toBe('connected')
    await expect.poll(async () => await childrenOf(program), patient).not.toContain(pid)
    await expectEcho(tunnel, client)
  }
})

test('nothing is left when both ends are closed in the middle of a transfer', async () => {
  {
    await using tunnel = await TestTunnel.open()
    const client = tunnel.client({ tunnels: 2 })
    const seen = await openEndless(tunnel, client)
    const socket = await tunnel.connect(PORT, deadline())
    socket.resume()
    await expect.poll(() => seen.sentBytes, patient).toBeGreaterThan(MIB)
    await tunnel.stopServer()
    await over(socket)
    expect(await readdir(tunnel.directory)).not.toContain('tunnel')
  }
  expect(await childrenOf('session-process')).toEqual([])
  expect(await childrenOf('dial-process')).toEqual([])
})
