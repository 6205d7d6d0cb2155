import { fork, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { MemoryTunnelGrants } from '@sendense/edge-agent/tunnel/memory-tunnel-grants.ts'
import { generateEd25519Key, readEd25519Key } from '@sendense/edge-agent/tunnel/ssh/ed25519-key.ts'
import { TunnelClient } from '@sendense/edge-agent/tunnel/tunnel-client.ts'
import { TunnelServer } from '@sendense/edge-agent/tunnel/tunnel-server.ts'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { makeOpenSshKey, openSshArguments, startOpenSshClient, startOpenSshServer } from '../harness/openssh.ts'
import { BenchReport, median } from './bench-report.ts'
import { contest, ratio, secondsOf } from './contest.ts'

const PORT = 20_001
const CHUNK = Buffer.alloc(1024 * 1024, 7)
const UP_WITHIN_MS = 20_000

export interface TunnelBenchmarkOptions {
  /** Moved in each direction, each round. */
  readonly mebibytes: number
  readonly rounds: number
  /** SSH connections of ours. */
  readonly tunnels: number
  readonly signal: AbortSignal
}

/** What moved the bytes which way: `down` from the capture side to the agent, as a backup; `up` as a restore. */
const CASES = ['tunnel-down', 'openssh-down', 'tunnel-up', 'openssh-up', 'openssh-command'] as const
type Case = (typeof CASES)[number]

/**
 * Ours against OpenSSH's client and server on the same cores: the same service behind both, a unix socket in front of
 * both, the same cipher (aes128-gcm), round by round one after the other. `openssh-command` is what `ssh host command`
 * moves, without forwarding.
 * @returns seconds of each round
 */
export async function measureTunnel(options: TunnelBenchmarkOptions): Promise<ReadonlyMap<string, readonly number[]>> {
  const { mebibytes, rounds, signal } = options
  const directory = await mkdtemp(path.join(tmpdir(), 'sendense-bench-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(async () => await rm(directory, { recursive: true, force: true }))
  const service = path.join(directory, 'service.sock')
  await startService(service, stack)
  const ours = await openOurs(directory, service, options, stack)
  const theirs = await openTheirs(directory, service, stack)
  const moves: Record<Case, () => Promise<void>> = {
    'tunnel-down': async () => await pull(ours, mebibytes),
    'openssh-down': async () => await pull(theirs.forwarded, mebibytes),
    'tunnel-up': async () => await push(ours, mebibytes),
    'openssh-up': async () => await push(theirs.forwarded, mebibytes),
    'openssh-command': async () => await theirs.command(mebibytes),
  }
  const contestants = CASES.map((name) => ({ name, prepare: async () => signal.throwIfAborted(), run: moves[name] }))
  return await contest(contestants, rounds)
}

/** The part of `npm run bench:mover`: `tunnel_vs_openssh` is the worse of the two directions. */
export async function reportTunnel(
  report: BenchReport,
  { mebibytes = 1024, rounds = 5, tunnels = 1, signal }: Partial<TunnelBenchmarkOptions> & { signal: AbortSignal },
): Promise<void> {
  const seconds = await measureTunnel({ mebibytes, rounds, tunnels, signal })
  for (const name of CASES) {
    const all = secondsOf(seconds, name)
    report.measured(
      { name, seconds: all },
      { mebibytes, tunnels, mebibytesPerSecond: Math.round(mebibytes / median(all)) },
    )
  }
  const down = ratio(seconds, 'openssh-down', 'tunnel-down')
  const up = ratio(seconds, 'openssh-up', 'tunnel-up')
  report.figure('tunnel_down_vs_openssh', down)
  report.figure('tunnel_up_vs_openssh', up)
  report.figure('tunnel_vs_openssh', Math.min(down, up))
}

async function startService(file: string, stack: AsyncDisposableStack): Promise<void> {
  const child = fork(path.join(import.meta.dirname, 'traffic-service.ts'), [file], { execArgv: [] })
  stack.defer(async () => {
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  })
  await once(child, 'message')
}

/** Returns the socket of the forwarded port. */
async function openOurs(
  directory: string,
  service: string,
  { tunnels, signal }: TunnelBenchmarkOptions,
  stack: AsyncDisposableStack,
): Promise<string> {
  const captureAgentId = randomUUID()
  const key = generateEd25519Key()
  const grants = new MemoryTunnelGrants()
  grants.add(readEd25519Key(key, 'benchmark').fingerprint, { captureAgentId, name: 'benchmark', ports: [PORT] })
  const logger = createLogger('benchmark', 'silent')
  const server = stack.use(
    await TunnelServer.open({
      port: 0,
      host: '127.0.0.1',
      stateDir: path.join(directory, 'state'),
      runtimeDir: directory,
      grants,
      clock: systemClock,
      logger,
      onRefused: () => undefined,
    }),
  )
  const client = stack.use(
    new TunnelClient({
      address: { host: '127.0.0.1', port: server.port },
      hostKeyFingerprint: server.hostKeyFingerprint,
      key,
      ports: [PORT],
      tunnels,
      clock: systemClock,
      logger,
    }),
  )
  await client.waitUntilConnected({ signal })
  await client.setTarget(PORT, { path: service })
  await server.waitForPort(captureAgentId, PORT, { signal })
  return server.socketPath(captureAgentId, PORT)
}

async function openTheirs(
  directory: string,
  service: string,
  stack: AsyncDisposableStack,
): Promise<{ forwarded: string; command: (mebibytes: number) => Promise<void> }> {
  const key = await makeOpenSshKey(directory, 'client')
  const server = stack.use(await startOpenSshServer(directory, { authorizedKeys: [key.publicKey] }))
  const forwarded = path.join(directory, 'openssh.sock')
  const { port, userName } = server
  const access = { port, userName, key, hostPublicKey: server.hostKey.publicKey, directory }
  const forwarding = ['-N', '-o', 'ExitOnForwardFailure=yes', '-R', `${forwarded}:${service}`]
  stack.use(await startOpenSshClient(access, 'forward', forwarding))
  const args = await openSshArguments(access, 'command')
  const command = async (mebibytes: number): Promise<void> => {
    const child = spawn('ssh', [...args, '-o', 'LogLevel=ERROR', `head -c ${mebibytes}M /dev/zero`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let bytes = 0
    child.stdout.on('data', (chunk: Buffer) => (bytes += chunk.length))
    await once(child, 'close')
    expectAll(bytes, mebibytes)
  }
  const forwards = async (): Promise<true> => await pull(forwarded, 1).then(() => true)
  await waitUntil('OpenSSH to forward', forwards, {
    signal: AbortSignal.timeout(UP_WITHIN_MS),
    timeoutMs: UP_WITHIN_MS,
  })
  return { forwarded, command }
}

async function pull(file: string, mebibytes: number): Promise<void> {
  let bytes = 0
  const onread = {
    buffer: Buffer.allocUnsafeSlow(1024 * 1024),
    callback: (length: number) => {
      bytes += length
      return true
    },
  }
  const socket = connect({ path: file, onread })
  socket.write(`r${mebibytes}\n`)
  socket.resume()
  await once(socket, 'end')
  socket.destroy()
  expectAll(bytes, mebibytes)
}

async function push(file: string, mebibytes: number): Promise<void> {
  const socket = connect({ path: file, allowHalfOpen: true })
  socket.write('w')
  await writeAll(socket, mebibytes)
  socket.end()
  let answer = ''
  for await (const chunk of socket) answer += String(chunk)
  expectAll(Number(answer), mebibytes)
}

async function writeAll(socket: Socket, mebibytes: number): Promise<void> {
  for (let sent = 0; sent < mebibytes; sent++) {
    if (!socket.write(CHUNK)) await once(socket, 'drain')
  }
}

function expectAll(bytes: number, mebibytes: number): void {
  if (bytes !== mebibytes * 1024 * 1024) throw new Error(`${bytes} bytes arrived instead of ${mebibytes} MiB`)
}

if (process.argv[1] === import.meta.filename) {
  const [mebibytes = 1024, rounds = 5, tunnels = 1] = process.argv.slice(2).map(Number)
  const report = new BenchReport('tunnel')
  await reportTunnel(report, { mebibytes, rounds, tunnels, signal: AbortSignal.timeout(30 * 60_000) })
  report.end()
}
