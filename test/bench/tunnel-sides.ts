import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
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
import { childrenOf, descendantsOf } from './resource-usage.ts'

const PORT = 20_001
const UP_WITHIN_MS = 20_000
const MIB = 1024 * 1024

export interface TunnelledService {
  /** For what the tunnel needs; ours and OpenSSH's may share it. */
  readonly directory: string
  /** A unix socket. */
  readonly service: string
}

/** A tunnel of ours to a service, ended with the stack; both its ends are on this machine. */
export async function openOurTunnel(
  {
    directory,
    service,
    tunnels,
    signal,
  }: TunnelledService & { readonly tunnels: number; readonly signal: AbortSignal },
  stack: AsyncDisposableStack,
): Promise<{ readonly forwarded: string; readonly pids: readonly number[] }> {
  const others = new Set(childrenOf(process.pid))
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
  await client.setTarget(PORT, { path: service })
  const stand = async (): Promise<boolean> => client.state.tunnels === tunnels
  await waitUntil('the tunnels to stand', stand, { signal, timeoutMs: UP_WITHIN_MS })
  await server.waitForPort(captureAgentId, PORT, { signal })
  const pids = childrenOf(process.pid).filter((pid) => !others.has(pid))
  return { forwarded: server.socketPath(captureAgentId, PORT), pids }
}

export interface OpenSshTunnel {
  /** The socket that leads to the service. */
  readonly forwarded: string
  /** Of `ssh`, and of what sshd runs for it. */
  pids(): number[]
  /** Moves so much through `ssh host command`. */
  command(mebibytes: number): Promise<void>
  /** Has `sftp` fetch a file, to nowhere. */
  fetch(file: string): Promise<void>
}

/** OpenSSH's client and server with the service forwarded, ended with the stack. */
export async function openOpenSshTunnel(
  { directory, service }: TunnelledService,
  stack: AsyncDisposableStack,
): Promise<OpenSshTunnel> {
  const others = new Set(childrenOf(process.pid))
  const key = await makeOpenSshKey(directory, 'client')
  const settings = ['Subsystem sftp internal-sftp']
  const server = stack.use(await startOpenSshServer(directory, { authorizedKeys: [key.publicKey], settings }))
  const forwarded = path.join(directory, 'openssh.sock')
  const { port, userName } = server
  const access = { port, userName, key, hostPublicKey: server.hostKey.publicKey, directory }
  const forwarding = ['-N', '-o', 'ExitOnForwardFailure=yes', '-R', `${forwarded}:${service}`]
  stack.use(await startOpenSshClient(access, 'forward', forwarding))
  const args = await openSshArguments(access, 'command')
  const forwards = async (): Promise<boolean> => existsSync(forwarded)
  await waitUntil('OpenSSH to forward', forwards, {
    signal: AbortSignal.timeout(UP_WITHIN_MS),
    timeoutMs: UP_WITHIN_MS,
  })
  return {
    forwarded,
    pids: () => {
      const started = childrenOf(process.pid).filter((pid) => !others.has(pid))
      return started.flatMap((pid) => [pid, ...descendantsOf(pid)])
    },
    command: async (mebibytes) => {
      const bytes = await outputOf('ssh', [...args, '-o', 'LogLevel=ERROR', `head -c ${mebibytes}M /dev/zero`])
      if (bytes !== mebibytes * MIB) throw new Error(`${bytes} bytes came instead of ${mebibytes} MiB`)
    },
    fetch: async (file) => {
      // sftp has its own words for the port and the user, and wants the host with the file.
      const shared = args.slice(0, -1).map((word) => (word === '-p' ? '-P' : word))
      const user = shared.indexOf('-l')
      shared.splice(user, 2, '-o', `User=${userName}`)
      await outputOf('sftp', ['-q', ...shared, `127.0.0.1:${file}`, '/dev/null'])
    },
  }
}

/** Runs a program to its end. Returns how many bytes it wrote. */
async function outputOf(command: string, args: readonly string[]): Promise<number> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let bytes = 0
  child.stdout.on('data', (chunk: Buffer) => (bytes += chunk.length))
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${command} ended with ${String(code)}`)
  return bytes
}
