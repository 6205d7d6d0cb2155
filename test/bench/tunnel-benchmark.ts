import { fork, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { cpus, tmpdir } from 'node:os'
import path from 'node:path'
import { performance } from 'node:perf_hooks'
import process from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import { MemoryTunnelGrants } from '@sendense/edge-agent/tunnel/memory-tunnel-grants.ts'
import { generateEd25519Key, readEd25519Key } from '@sendense/edge-agent/tunnel/ssh/ed25519-key.ts'
import { TunnelClient } from '@sendense/edge-agent/tunnel/tunnel-client.ts'
import { TunnelServer } from '@sendense/edge-agent/tunnel/tunnel-server.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { makeOpenSshKey, openSshArguments, startOpenSshClient, startOpenSshServer } from '../harness/openssh.ts'

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

/** Medians over the rounds, in MiB/s; `vs` compares medians. */
export interface TunnelFigures {
  /** From the capture side to the agent, as a backup: through a forwarded port. */
  readonly downMiBs: number
  readonly opensshDownMiBs: number
  /** From the agent to the capture side, as a restore. */
  readonly upMiBs: number
  readonly opensshUpMiBs: number
  /** What `ssh host command` moves, without forwarding. */
  readonly opensshCommandMiBs: number
  readonly downVsOpenssh: number
  readonly upVsOpenssh: number
}

/** Moves a megabyte in 1/rate seconds. */
type Move = (mebibytes: number) => Promise<number>

/**
 * Ours against OpenSSH's client and server on the same cores: the same service behind both, a unix socket in front of
 * both, the same cipher (aes128-gcm), round by round one after the other.
 */
export async function measureTunnel(options: TunnelBenchmarkOptions): Promise<TunnelFigures> {
  const { mebibytes, rounds, signal } = options
  const directory = await mkdtemp(path.join(tmpdir(), 'sendense-bench-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(async () => await rm(directory, { recursive: true, force: true }))
  const service = path.join(directory, 'service.sock')
  await startService(service, stack)
  const ours = await openOurs(directory, service, options, stack)
  const theirs = await openTheirs(directory, service, stack)
  const moves: Record<string, Move> = {
    down: async (size) => await pull(ours, size),
    opensshDown: async (size) => await pull(theirs.forwarded, size),
    up: async (size) => await push(ours, size),
    opensshUp: async (size) => await push(theirs.forwarded, size),
    opensshCommand: theirs.command,
  }
  const seen = new Map<string, number[]>(Object.keys(moves).map((name) => [name, []]))
  // The first round only warms up.
  for (let round = 0; round <= rounds; round++) {
    for (const [name, move] of Object.entries(moves)) {
      signal.throwIfAborted()
      const rate = await move(round === 0 ? Math.min(64, mebibytes) : mebibytes)
      if (round > 0) seen.get(name)?.push(rate)
    }
  }
  const medianOf = (name: string) => median(seen.get(name) ?? [])
  const [downMiBs, opensshDownMiBs] = [medianOf('down'), medianOf('opensshDown')]
  const [upMiBs, opensshUpMiBs] = [medianOf('up'), medianOf('opensshUp')]
  return {
    downMiBs,
    opensshDownMiBs,
    upMiBs,
    opensshUpMiBs,
    opensshCommandMiBs: medianOf('opensshCommand'),
    downVsOpenssh: Number((downMiBs / opensshDownMiBs).toFixed(2)),
    upVsOpenssh: Number((upMiBs / opensshUpMiBs).toFixed(2)),
  }
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
): Promise<{ forwarded: string; command: Move }> {
  const key = await makeOpenSshKey(directory, 'client')
  const server = stack.use(await startOpenSshServer(directory, { authorizedKeys: [key.publicKey] }))
  const forwarded = path.join(directory, 'openssh.sock')
  const { port, userName } = server
  const access = { port, userName, key, hostPublicKey: server.hostKey.publicKey, directory }
  const forwarding = ['-N', '-o', 'ExitOnForwardFailure=yes', '-R', `${forwarded}:${service}`]
  stack.use(await startOpenSshClient(access, 'forward', forwarding))
  const args = await openSshArguments(access, 'command')
  const command = async (mebibytes: number): Promise<number> => {
    const start = performance.now()
    const child = spawn('ssh', [...args, '-o', 'LogLevel=ERROR', `head -c ${mebibytes}M /dev/zero`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let bytes = 0
    child.stdout.on('data', (chunk: Buffer) => (bytes += chunk.length))
    await once(child, 'close')
    return rateOf(bytes, mebibytes, start)
  }
  for (let waitedMs = 0; (await pull(forwarded, 1).catch(() => 0)) === 0; waitedMs += 100) {
    if (waitedMs > UP_WITHIN_MS) throw new Error('OpenSSH forwards nothing')
    await delay(100)
  }
  return { forwarded, command }
}

async function pull(file: string, mebibytes: number): Promise<number> {
  const start = performance.now()
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
  return rateOf(bytes, mebibytes, start)
}

async function push(file: string, mebibytes: number): Promise<number> {
  const start = performance.now()
  const socket = connect({ path: file, allowHalfOpen: true })
  socket.write('w')
  await writeAll(socket, mebibytes)
  socket.end()
  let answer = ''
  for await (const chunk of socket) answer += String(chunk)
  return rateOf(Number(answer), mebibytes, start)
}

async function writeAll(socket: Socket, mebibytes: number): Promise<void> {
  for (let sent = 0; sent < mebibytes; sent++) {
    if (!socket.write(CHUNK)) await once(socket, 'drain')
  }
}

function rateOf(bytes: number, mebibytes: number, startMs: number): number {
  if (bytes !== mebibytes * 1024 * 1024) throw new Error(`${bytes} bytes arrived instead of ${mebibytes} MiB`)
  return Math.round(mebibytes / ((performance.now() - startMs) / 1000))
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

if (process.argv[1] === import.meta.filename) {
  const [mebibytes = 1024, rounds = 5, tunnels = 1] = process.argv.slice(2).map(Number)
  const figures = await measureTunnel({ mebibytes, rounds, tunnels, signal: AbortSignal.timeout(30 * 60_000) })
  const about = { mebibytes, rounds, tunnels, cpu: cpus()[0]?.model, cores: cpus().length, node: process.version }
  process.stdout.write(`${JSON.stringify({ benchmark: 'tunnel', ...figures, ...about })}\n`)
}
