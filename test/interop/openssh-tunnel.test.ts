import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { ClientSession } from '@sendense/edge-agent/tunnel/client/client-session.ts'
import { logIn } from '@sendense/edge-agent/tunnel/client/log-in.ts'
import { MemoryTunnelGrants } from '@sendense/edge-agent/tunnel/memory-tunnel-grants.ts'
import { openHostKey } from '@sendense/edge-agent/tunnel/server/host-key.ts'
import { generateEd25519Key, readEd25519Key } from '@sendense/edge-agent/tunnel/ssh/ed25519-key.ts'
import { usualTimes } from '@sendense/edge-agent/tunnel/ssh/ssh-transport.ts'
import { ssh2Loaded } from '@sendense/edge-agent/tunnel/ssh/ssh2-protocol.ts'
import { readAll } from '@sendense/edge-agent/tunnel/test-tunnel.ts'
import { type Refusal, TunnelServer } from '@sendense/edge-agent/tunnel/tunnel-server.ts'
import { findFreePort } from '@sendense/infra/processes/free-port.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { describe, expect, test } from 'vitest'
import {
  makeOpenSshKey,
  type OpenSshClient,
  openSshArguments,
  startOpenSshClient,
  startOpenSshServer,
} from '../harness/openssh.ts'

const PORT = 20_001
const logger = createLogger('test', 'silent')

function deadline(): AbortSignal {
  return AbortSignal.timeout(60_000)
}

/** A service on the capture side: gives back what it gets. */
async function openEcho(directory: string): Promise<{ path: string } & AsyncDisposable> {
  const file = path.join(directory, 'echo.sock')
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.pipe(socket)
  }).listen(file)
  await once(server, 'listening')
  return {
    path: file,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

/** Our server, and what ssh needs to log in to it. */
async function openOurServer(stack: AsyncDisposableStack) {
  const directory = await mkdtemp(path.join(tmpdir(), 'sd-ssh-'))
  stack.defer(async () => await rm(directory, { recursive: true, force: true }))
  const key = await makeOpenSshKey(directory, 'client')
  const captureAgentId = randomUUID()
  const grants = new MemoryTunnelGrants()
  grants.add(key.fingerprint, { captureAgentId, name: 'host-1', ports: [PORT] })
  const refusals: Refusal[] = []
  const stateDir = path.join(directory, 'state')
  const server = stack.use(
    await TunnelServer.open({
      port: 0,
      host: '127.0.0.1',
      stateDir,
      runtimeDir: directory,
      grants,
      clock: systemClock,
      logger,
      onRefused: (refusal) => refusals.push(refusal),
    }),
  )
  const { publicKey } = await openHostKey(stateDir)
  const hostPublicKey = `ssh-ed25519 ${publicKey.toString('base64')}`
  const access = { port: server.port, userName: 'capture', key, hostPublicKey, directory }
  const ssh = async (...args: string[]): Promise<OpenSshClient> =>
    stack.use(await startOpenSshClient(access, 'client', args))
  return { directory, server, captureAgentId, refusals, access, ssh }
}

/** A real sshd, and our client logged in to it. */
async function openTheirServer(stack: AsyncDisposableStack, { rekeyBytes = usualTimes.rekeyBytes } = {}) {
  await ssh2Loaded()
  const directory = await mkdtemp(path.join(tmpdir(), 'sd-ssh-'))
  stack.defer(async () => await rm(directory, { recursive: true, force: true }))
  const key = readEd25519Key(generateEd25519Key(), 'test')
  const authorizedKeys = [`ssh-ed25519 ${key.publicKey.toString('base64')}`]
  const server = stack.use(await startOpenSshServer(directory, { authorizedKeys }))
  const echo = stack.use(await openEcho(directory))
  const dial = async (changes: { hostKeyFingerprint?: string; key?: typeof key } = {}) => {
    const session = await logIn({
      address: { host: '127.0.0.1', port: server.port },
      hostKeyFingerprint: server.hostKey.fingerprint,
      key,
      userName: server.userName,
      times: { ...usualTimes, rekeyBytes },
      findTarget: () => ({ path: echo.path }),
      onEnded: () => undefined,
      signal: deadline(),
      ...changes,
    })
    stack.defer(() => session.close())
    return session
  }
  return { server, dial }
}

async function echoThrough(session: ClientSession, bytes: number): Promise<boolean> {
  const port = await findFreePort()
  expect(await session.forward(port)).toBe(true)
  const sent = randomBytes(bytes)
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.end(sent)
  return (await readAll(socket)).equals(sent)
}

describe("OpenSSH's client", () => {
  test('forwards its granted port, and the fingerprint it shows is the one the server names', async () => {
    await using stack = new AsyncDisposableStack()
    const { directory, server, captureAgentId, refusals, ssh, access } = await openOurServer(stack)
    const echo = stack.use(await openEcho(directory))
    await ssh('-N', '-o', 'ExitOnForwardFailure=yes', '-R', `${PORT}:${echo.path}`)
    await server.waitForPort(captureAgentId, PORT, { signal: deadline() })
    const sent = randomBytes(8 * 1024 * 1024 + 1)
    const socket = connect({ path: server.socketPath(captureAgentId, PORT), allowHalfOpen: true })
    socket.end(sent)
    expect((await readAll(socket)).equals(sent)).toBe(true)
    expect(refusals).toEqual([])
    const scan = await run('ssh-keyscan', ['-t', 'ed25519', '-p', String(access.port), '127.0.0.1'])
    expect(scan.stdout).toContain(access.hostPublicKey)
    expect((await run('ssh-keygen', ['-l', '-f', '-'], scan.stdout)).stdout).toContain(server.hostKeyFingerprint)
  })

  test.each([
    ['a shell', [], 'channel session'],
    ['a terminal', ['-tt'], 'channel session'],
    ['a command', ['true'], 'channel session'],
    ['a subsystem', ['-s', 'sftp'], 'channel session'],
    ['X11 forwarding', ['-X', 'true'], 'channel session'],
    ['agent forwarding', ['-A', 'true'], 'channel session'],
    ['another connection through it', ['-W', '127.0.0.1:22'], 'channel direct-tcpip'],
    ['a port that is not granted', ['-N', '-R', `${PORT + 1}:127.0.0.1:1`], `forwarding of port ${PORT + 1}`],
    ['any port', ['-N', '-R', '0:127.0.0.1:1'], 'forwarding of port 0'],
    ['a socket on the server', ['-N', '-R', '/tmp/x.sock:127.0.0.1:1'], 'request streamlocal-forward@openssh.com'],
  ])('is refused %s, which is told', async (_what, args, told) => {
    await using stack = new AsyncDisposableStack()
    const { refusals, ssh, captureAgentId } = await openOurServer(stack)
    const client = await ssh('-o', 'ExitOnForwardFailure=yes', ...args)
    expect(await client.ended).not.toBe(0)
    await expect.poll(() => refusals.map(({ kind, what }) => `${kind}: ${what}`)).toContain(`request: ${told}`)
    expect(refusals[0]).toMatchObject({ captureAgentId, name: 'host-1', address: '127.0.0.1' })
  })

  test.each([
    ['-L', 'channel direct-tcpip', (port: number) => ['-N', '-L', `127.0.0.1:${port}:127.0.0.1:22`]],
    ['-D', 'channel direct-tcpip', (port: number) => ['-N', '-D', `127.0.0.1:${port}`]],
    [
      '-L to a socket',
      'channel direct-streamlocal@openssh.com',
      (port: number) => ['-N', '-L', `127.0.0.1:${port}:/tmp/x`],
    ],
  ])('reaches nothing on the server by %s, which is told', async (_what, told, argsOf) => {
    await using stack = new AsyncDisposableStack()
    const { refusals, ssh } = await openOurServer(stack)
    const port = await findFreePort()
    await ssh(...argsOf(port))
    // Of SOCKS the answer may come that the connection was refused.
    const nothing = /^(reset|ended after (0|10) bytes)$/
    await expect.poll(async () => await ask(port), { timeout: 30_000, interval: 100 }).toMatch(nothing)
    await expect.poll(() => refusals.map(({ what }) => what)).toContain(told)
  })

  test.each([
    ['with a key that is not known', 'stranger', 'capture', []],
    ['as another user', 'client', 'root', []],
    ['with a password', 'client', 'capture', ['-o', 'PubkeyAuthentication=no', '-o', 'BatchMode=no']],
  ])('is not let in %s', async (_how, keyName, userName, args) => {
    await using stack = new AsyncDisposableStack()
    const { refusals, access, directory, server } = await openOurServer(stack)
    const key = keyName === 'client' ? access.key : await makeOpenSshKey(directory, keyName)
    const client = stack.use(await startOpenSshClient({ ...access, key, userName }, keyName, ['-N', ...args]))
    expect(await client.ended).toBe(255)
    expect(client.said()).toContain('Permission denied (publickey)')
    expect(server.connected()).toEqual([])
    // A client that is told that passwords are not taken sends none.
    const told = args.length > 0 ? [] : [`login: log-in with key ${key.fingerprint}`]
    await expect.poll(() => refusals.map(({ kind, what }) => `${kind}: ${what}`)).toEqual(told)
  })

  test('is not let in with an RSA or ECDSA key, whoever it is known as', async () => {
    await using stack = new AsyncDisposableStack()
    const { access, directory } = await openOurServer(stack)
    for (const kind of ['rsa', 'ecdsa']) {
      const file = path.join(directory, kind)
      await run('ssh-keygen', ['-q', '-t', kind, '-N', '', '-f', file])
      const args = await openSshArguments({ ...access, key: { ...access.key, file } }, kind)
      const { exitCode, stderr } = await run('ssh', [...args, '-N'])
      expect({ kind, exitCode }).toEqual({ kind, exitCode: 255 })
      expect(stderr).toContain('Permission denied (publickey)')
    }
  })

  test('exchanges keys again in the middle of a transfer, as often as it wants', async () => {
    await using stack = new AsyncDisposableStack()
    const { directory, server, captureAgentId, ssh } = await openOurServer(stack)
    const echo = stack.use(await openEcho(directory))
    await ssh('-N', '-o', 'RekeyLimit=1M', '-R', `${PORT}:${echo.path}`)
    await server.waitForPort(captureAgentId, PORT, { signal: deadline() })
    const sent = randomBytes(12 * 1024 * 1024)
    const socket = connect({ path: server.socketPath(captureAgentId, PORT), allowHalfOpen: true })
    socket.end(sent)
    expect((await readAll(socket)).equals(sent)).toBe(true)
  })
})

describe("OpenSSH's server", () => {
  test('forwards to our client, both ways and the ends of both halves', async () => {
    await using stack = new AsyncDisposableStack()
    const { dial } = await openTheirServer(stack)
    expect(await echoThrough(await dial(), 8 * 1024 * 1024 + 1)).toBe(true)
  })

  test('exchanges keys again when our client wants to', async () => {
    await using stack = new AsyncDisposableStack()
    const { dial } = await openTheirServer(stack, { rekeyBytes: 1024 * 1024 })
    expect(await echoThrough(await dial(), 12 * 1024 * 1024)).toBe(true)
  })

  test('with another host key than the pinned one is not told who we are', async () => {
    await using stack = new AsyncDisposableStack()
    const { dial } = await openTheirServer(stack)
    const hostKeyFingerprint = `SHA256:${'A'.repeat(43)}`
    await expect(dial({ hostKeyFingerprint })).rejects.toMatchObject({ code: 'tunnel.host_key_mismatch' })
  })

  test('that does not know our key, and one that is not there, are told apart', async () => {
    await using stack = new AsyncDisposableStack()
    const { dial, server } = await openTheirServer(stack)
    const key = readEd25519Key(generateEd25519Key(), 'stranger')
    await expect(dial({ key })).rejects.toMatchObject({ code: 'tunnel.login_refused' })
    await server[Symbol.asyncDispose]()
    await expect(dial()).rejects.toMatchObject({ code: 'tunnel.unreachable' })
  })
})

/** What a connection to that port of ssh's gives; where ssh is asked in SOCKS first, what it leads to gives. */
async function ask(port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  let came = 0
  socket.on('data', (chunk: Buffer) => {
    const isGreeting = came === 0 && chunk.equals(Buffer.from([5, 0]))
    if (isGreeting) socket.write(Buffer.from([5, 1, 0, 1, 127, 0, 0, 1, 0, 22]))
    else came += chunk.length
  })
  const { promise, resolve } = Promise.withResolvers<string>()
  socket.on('error', (error) => resolve('code' in error && error.code === 'ECONNRESET' ? 'reset' : error.message))
  socket.on('end', () => resolve(`ended after ${came} bytes`))
  // SOCKS 5 without authentication; for -L it is just bytes.
  socket.write(Buffer.from([5, 1, 0]))
  try {
    return await promise
  } finally {
    socket.destroy()
  }
}

async function run(
  file: string,
  args: readonly string[],
  input = '',
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  return await new Promise((resolve) => {
    const env = { PATH: process.env['PATH'] }
    const child = execFile(file, args, { env }, (error, stdout, stderr) => {
      resolve({ exitCode: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
    })
    child.stdin?.end(input)
  })
}
