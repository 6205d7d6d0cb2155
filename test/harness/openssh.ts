import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { userInfo } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { promisify } from 'node:util'
import { findFreePort } from '@sendense/infra/processes/free-port.ts'
import { waitUntil } from '@sendense/infra/processes/wait-until.ts'

const SSHD = '/usr/sbin/sshd'
const UP_WITHIN_MS = 15_000

/** An Ed25519 key that ssh-keygen made. */
export interface OpenSshKey {
  readonly file: string
  /** `ssh-ed25519 AAAA…`, as in authorized_keys and known_hosts. */
  readonly publicKey: string
  readonly fingerprint: string
}

export async function makeOpenSshKey(directory: string, name: string): Promise<OpenSshKey> {
  const file = path.join(directory, name)
  const run = promisify(execFile)
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', file])
  const [algorithm, key] = (await readFile(`${file}.pub`, 'utf8')).split(' ')
  const { stdout } = await run('ssh-keygen', ['-l', '-f', `${file}.pub`])
  return { file, publicKey: `${algorithm} ${key}`, fingerprint: stdout.split(' ')[1] ?? '' }
}

/** Debian's sshd with its own configuration and host key, for the user who runs the tests. */
export interface OpenSshServer extends AsyncDisposable {
  readonly port: number
  readonly userName: string
  readonly hostKey: OpenSshKey
}

/** @param authorizedKeys lines of authorized_keys */
export async function startOpenSshServer(
  directory: string,
  {
    authorizedKeys,
    settings = [],
  }: { readonly authorizedKeys: readonly string[]; readonly settings?: readonly string[] },
): Promise<OpenSshServer> {
  const port = await findFreePort()
  const hostKey = await makeOpenSshKey(directory, 'sshd-host')
  const authorized = path.join(directory, 'authorized_keys')
  await writeFile(authorized, authorizedKeys.map((line) => `${line}\n`).join(''), { mode: 0o600 })
  const configuration = path.join(directory, 'sshd_config')
  const lines = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${hostKey.file}`,
    `AuthorizedKeysFile ${authorized}`,
    `PidFile ${path.join(directory, 'sshd.pid')}`,
    'StrictModes no',
    'UsePAM no',
    'PasswordAuthentication no',
    'PermitRootLogin yes',
    'Ciphers aes128-gcm@openssh.com',
    'StreamLocalBindUnlink yes',
    ...settings,
  ]
  await writeFile(configuration, lines.map((line) => `${line}\n`).join(''))
  // Where sshd shuts in what is not logged in yet, when it is started by root.
  if (process.getuid?.() === 0) await mkdir('/run/sshd', { recursive: true })
  const child = spawn(SSHD, ['-D', '-e', '-f', configuration], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-4000)))
  await waitUntilListening(port, child, () => said)
  return {
    port,
    userName: userInfo().username,
    hostKey,
    [Symbol.asyncDispose]: async () => await end(child),
  }
}

/** An `ssh` that runs beside the test. */
export interface OpenSshClient extends AsyncDisposable {
  readonly pid: number
  /** What it has said on standard error so far. */
  said(): string
  /** Resolves with its exit code. */
  readonly ended: Promise<number>
}

export interface OpenSshClientOptions {
  readonly port: number
  readonly userName: string
  readonly key: OpenSshKey
  /** `ssh-ed25519 AAAA…`: no other host key is accepted. */
  readonly hostPublicKey: string
  readonly directory: string
}

/** Arguments that make `ssh` use this key and know this host, and nothing of the user's own; more may follow. */
export async function openSshArguments(options: OpenSshClientOptions, name: string): Promise<string[]> {
  const knownHosts = path.join(options.directory, `${name}-known_hosts`)
  await writeFile(knownHosts, `[127.0.0.1]:${options.port} ${options.hostPublicKey}\n`)
  const settings = [
    'IdentitiesOnly=yes',
    'IdentityAgent=none',
    'BatchMode=yes',
    'StrictHostKeyChecking=yes',
    `UserKnownHostsFile=${knownHosts}`,
    'GlobalKnownHostsFile=/dev/null',
    'ConnectTimeout=10',
    'LogLevel=INFO',
  ]
  const identity = ['-F', 'none', '-i', options.key.file, '-p', String(options.port), '-l', options.userName]
  return [...identity, ...settings.flatMap((setting) => ['-o', setting]), '127.0.0.1']
}

export async function startOpenSshClient(
  options: OpenSshClientOptions,
  name: string,
  args: readonly string[],
): Promise<OpenSshClient> {
  const child = spawn('ssh', [...(await openSshArguments(options, name)), ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env['PATH'] },
  })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const ended = once(child, 'close').then(([code]) => (typeof code === 'number' ? code : -1))
  return { pid: child.pid ?? 0, said: () => said, ended, [Symbol.asyncDispose]: async () => await end(child) }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  await exited
}

async function waitUntilListening(port: number, child: ChildProcess, said: () => string): Promise<void> {
  const isUp = async (): Promise<boolean> => {
    const socket = connect(port, '127.0.0.1')
    try {
      await once(socket, 'connect')
      return true
    } finally {
      socket.destroy()
    }
  }
  const died = new AbortController()
  child.once('exit', () => died.abort(new Error(`sshd ended: ${said()}`)))
  await waitUntil('sshd to listen', isUp, { signal: died.signal, timeoutMs: UP_WITHIN_MS })
}
