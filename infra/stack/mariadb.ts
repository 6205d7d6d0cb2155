import { access, mkdir, rename, rm } from 'node:fs/promises'
import { userInfo } from 'node:os'
import path from 'node:path'
import type { ProcessSpec } from '../processes/managed-process.ts'
import { runCommand } from '../processes/run-command.ts'
import type { StackPaths } from './stack-paths.ts'

export const AGENT_DATABASE = 'sendense_edge'

/** Where the agent's database listens; nowhere else. */
export function mariadbSocket(paths: StackPaths): string {
  return path.join(paths.runtimeDir, 'mariadb.sock')
}

/** Makes the agent's private database directory where there is none, and returns how to run the server. */
export async function prepareMariadb(paths: StackPaths, options: { signal: AbortSignal }): Promise<ProcessSpec> {
  const dataDir = path.join(paths.mariadbDir, 'data')
  const user = `--user=${userInfo().username}`
  if (
    !(await access(dataDir).then(
      () => true,
      () => false,
    ))
  ) {
    const unfinished = path.join(paths.mariadbDir, 'unfinished')
    await rm(unfinished, { recursive: true, force: true })
    await mkdir(unfinished, { recursive: true, mode: 0o700 })
    const layout = [`--datadir=${unfinished}`, '--auth-root-authentication-method=normal', '--skip-test-db', user]
    await runCommand('mariadb-install-db', ['--no-defaults', ...layout], options)
    await rename(unfinished, dataDir)
  }
  const socket = mariadbSocket(paths)
  return {
    name: 'mariadb',
    file: 'mariadbd',
    args: [
      '--no-defaults',
      user,
      `--datadir=${dataDir}`,
      `--socket=${socket}`,
      `--pid-file=${path.join(paths.runtimeDir, 'mariadb.pid')}`,
      '--skip-networking',
      '--character-set-server=utf8mb4',
      '--innodb-buffer-pool-size=64M',
    ],
    logFile: path.join(paths.logsDir, 'mariadb.log'),
    ready: async (signal) => await createAgentDatabase(socket, signal),
    readyTimeoutMs: 60_000,
  }
}

/** Answers true only when the server took the statement: no better proof that it serves. */
async function createAgentDatabase(socket: string, signal: AbortSignal): Promise<boolean> {
  const statement = `CREATE DATABASE IF NOT EXISTS ${AGENT_DATABASE} CHARACTER SET utf8mb4`
  await runCommand('mariadb', ['--no-defaults', `--socket=${socket}`, '--user=root', '--execute', statement], {
    signal,
  })
  return true
}
