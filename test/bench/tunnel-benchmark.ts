import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { BenchReport } from './bench-report.ts'
import { contest, type Contestant, factsOf, ratio, secondsOf, type Usages } from './contest.ts'
import { openOpenSshTunnel, openOurTunnel } from './tunnel-sides.ts'

const MIB = 1024 * 1024
const CHUNK = Buffer.alloc(MIB, 7)

export interface TunnelBenchmarkOptions {
  /** Moved in each direction, each round. */
  readonly mebibytes: number
  readonly rounds: number
  /** SSH connections of ours. */
  readonly tunnels: number
  readonly signal: AbortSignal
}

/** What moved the bytes which way: `down` from the capture side to the agent, as a backup; `up` as a restore. */
const CASES = ['tunnel-down', 'openssh-down', 'tunnel-up', 'openssh-up', 'openssh-command', 'sftp-down'] as const
type Case = (typeof CASES)[number]

/** Connections at once where several tunnels share the work. */
const CONNECTIONS = 4
const TUNNEL_COUNTS = [1, 2, 4]

/**
 * Ours against OpenSSH's client and server on the same cores: the same service behind both, a unix socket in front of
 * both, the same cipher (aes128-gcm), round by round one after the other. `openssh-command` is what `ssh host command`
 * moves, without forwarding, and `sftp-down` what `sftp` does.
 */
async function measureTunnel(options: TunnelBenchmarkOptions): Promise<Usages> {
  const { mebibytes, rounds, signal } = options
  const directory = await mkdtemp(path.join(tmpdir(), 'sendense-bench-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(async () => await rm(directory, { recursive: true, force: true }))
  const service = path.join(directory, 'service.sock')
  await startService(service, stack)
  const ours = await openOurTunnel({ directory, service, tunnels: options.tunnels, signal }, stack)
  const theirs = await openOpenSshTunnel({ directory, service }, stack)
  const file = path.join(directory, 'zeros')
  await writeFile(file, '')
  await truncate(file, mebibytes * MIB)
  const moves: Record<Case, () => Promise<void>> = {
    'tunnel-down': async () => await pull(ours.forwarded, mebibytes),
    'openssh-down': async () => await pull(theirs.forwarded, mebibytes),
    'tunnel-up': async () => await push(ours.forwarded, mebibytes),
    'openssh-up': async () => await push(theirs.forwarded, mebibytes),
    'openssh-command': async () => await theirs.command(mebibytes),
    'sftp-down': async () => await theirs.fetch(file),
  }
  const pids = { ours: ours.pids, theirs: theirs.pids() }
  const contestants = CASES.map((name) => ({
    name,
    prepare: async () => signal.throwIfAborted(),
    run: moves[name],
    contenders: { pids: name.startsWith('tunnel') ? pids.ours : pids.theirs },
  }))
  return await contest(contestants, rounds)
}

/** The part of `npm run bench:mover`: `tunnel_vs_openssh` is the worse of the two directions. */
export async function reportTunnel(
  report: BenchReport,
  { mebibytes = 1024, rounds = 5, tunnels = 1, signal }: Partial<TunnelBenchmarkOptions> & { signal: AbortSignal },
): Promise<void> {
  const usages = await measureTunnel({ mebibytes, rounds, tunnels, signal })
  for (const name of CASES) {
    const facts = { tunnels, ...factsOf(usages, name, { dataBytes: mebibytes * MIB }) }
    report.measured({ name, seconds: secondsOf(usages, name) }, facts)
  }
  const down = ratio(usages, 'openssh-down', 'tunnel-down')
  const up = ratio(usages, 'openssh-up', 'tunnel-up')
  report.figure('tunnel_down_vs_openssh', down)
  report.figure('tunnel_up_vs_openssh', up)
  report.figure('tunnel_vs_openssh', Math.min(down, up))
  report.figure('tunnel_down_vs_sftp', ratio(usages, 'sftp-down', 'tunnel-down'))
  await reportTunnelCounts(report, { mebibytes, rounds: Math.min(rounds, 3), signal })
}

/** The same bytes over four connections, through one tunnel, two and four. */
async function reportTunnelCounts(
  report: BenchReport,
  { mebibytes, rounds, signal }: Omit<TunnelBenchmarkOptions, 'tunnels'>,
): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const contestants: Contestant[] = []
  for (const tunnels of TUNNEL_COUNTS) {
    const directory = await mkdtemp(path.join(tmpdir(), 'sendense-bench-'))
    stack.defer(async () => await rm(directory, { recursive: true, force: true }))
    const service = path.join(directory, 'service.sock')
    await startService(service, stack)
    const { forwarded, pids } = await openOurTunnel({ directory, service, tunnels, signal }, stack)
    const share = mebibytes / CONNECTIONS
    const run = async (): Promise<void> => {
      await Promise.all(Array.from({ length: CONNECTIONS }, async () => await pull(forwarded, share)))
    }
    contestants.push({ name: `${CONNECTIONS} connections down, tunnels: ${tunnels}`, run, contenders: { pids } })
  }
  const usages = await contest(contestants, rounds)
  const [one, ...more] = contestants.map(({ name }) => name)
  for (const { name } of contestants) {
    const facts = factsOf(usages, name, { dataBytes: mebibytes * MIB })
    report.measured({ name, seconds: secondsOf(usages, name) }, facts)
  }
  for (const [index, name] of more.entries()) {
    report.figure(`tunnels_${TUNNEL_COUNTS[index + 1]}_vs_1`, ratio(usages, one ?? '', name))
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
  if (bytes !== mebibytes * MIB) throw new Error(`${bytes} bytes arrived instead of ${mebibytes} MiB`)
}

if (process.argv[1] === import.meta.filename) {
  const [mebibytes = 1024, rounds = 5, tunnels = 1] = process.argv.slice(2).map(Number)
  const report = new BenchReport('tunnel')
  await reportTunnel(report, { mebibytes, rounds, tunnels, signal: AbortSignal.timeout(30 * 60_000) })
  report.end()
}
