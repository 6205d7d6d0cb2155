import { createHash } from 'node:crypto'
import { chmod, mkdir, stat } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

export const checkoutDir = path.resolve(import.meta.dirname, '../..')

export interface StackPaths {
  readonly stateDir: string
  readonly cacheDir: string
  readonly logsDir: string
  readonly keysDir: string
  readonly ledgerDir: string
  readonly postgresDir: string
  readonly brokerDir: string
  readonly mariadbDir: string
  readonly agentDir: string
  readonly kvmRoot: string
  readonly repositoryDir: string
  /** Short, for sockets (a socket's path has at most 107 bytes); the same for the same state directory. */
  readonly runtimeDir: string
  readonly kvmRuntimeDir: string
}

/** Everything a stack writes lies in its state directory, but for sockets; downloads and builds are shared in the cache. */
export function stackPaths(stateDir: string, cacheDir: string): StackPaths {
  const short = createHash('sha256').update(path.resolve(stateDir)).digest('hex').slice(0, 8)
  const runtimeDir = path.join(tmpdir(), `sendense-${short}`)
  const inState = (name: string): string => path.join(path.resolve(stateDir), name)
  return {
    stateDir: path.resolve(stateDir),
    cacheDir: path.resolve(cacheDir),
    logsDir: inState('logs'),
    keysDir: inState('keys'),
    ledgerDir: inState('processes'),
    postgresDir: inState('postgres'),
    brokerDir: inState('broker'),
    mariadbDir: inState('mariadb'),
    agentDir: inState('agent'),
    kvmRoot: inState('kvm'),
    repositoryDir: inState('repository'),
    runtimeDir,
    kvmRuntimeDir: path.join(runtimeDir, 'kvm'),
  }
}

/** Makes the directories. Rejects with `stack.start_failed` when somebody else owns the socket directory's name. */
export async function makeStackDirectories(paths: StackPaths): Promise<void> {
  for (const directory of [
    paths.stateDir,
    paths.cacheDir,
    paths.logsDir,
    paths.brokerDir,
    paths.kvmRoot,
    paths.repositoryDir,
  ]) {
    await mkdir(directory, { recursive: true })
  }
  for (const directory of [paths.keysDir, paths.agentDir, paths.runtimeDir, paths.kvmRuntimeDir]) {
    await mkdir(directory, { recursive: true, mode: 0o700 })
  }
  const owner = (await stat(paths.runtimeDir)).uid
  if (owner !== userInfo().uid) {
    throw new PlatformError('stack.start_failed', `${paths.runtimeDir} belongs to user id ${owner}`)
  }
  await chmod(paths.runtimeDir, 0o700)
}
