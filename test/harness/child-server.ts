import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

const COMMAND_TIMEOUT_MS = 30_000
const END_TIMEOUT_MS = 10_000
const LOG_TAIL_CHARACTERS = 2000

/** A server of somebody else, as a child of the test: it ends with it, by its own process id. */
export interface ChildServer extends AsyncDisposable {
  /** Throws, with the end of its log, when it has ended. */
  expectRunning(): Promise<void>
}

/** Starts a server in the foreground. What it prints is kept in `logFile`. */
export function startServer(
  command: readonly [string, ...string[]],
  { logFile, cwd, env }: { logFile: string; cwd?: string; env?: NodeJS.ProcessEnv },
): ChildServer {
  const log = openSync(logFile, 'a')
  const [file, ...args] = command
  const child = spawn(file, args, { stdio: ['ignore', log, log], cwd, env: { ...process.env, ...env } })
  closeSync(log)
  let failure: unknown
  child.on('error', (error) => (failure = error))
  return {
    expectRunning: async () => {
      if (failure === undefined && child.exitCode === null && child.signalCode === null) return
      const tail = (await readFile(logFile, 'utf8')).slice(-LOG_TAIL_CHARACTERS)
      throw new Error(`${file} has ended: ${tail}`, { cause: failure })
    },
    [Symbol.asyncDispose]: async () => await end(child),
  }
}

/** Runs a command to its end and answers with what it printed. */
export async function runCommand(command: readonly [string, ...string[]], cwd: string): Promise<string> {
  const [file, ...args] = command
  const { stdout } = await promisify(execFile)(file, args, { cwd, timeout: COMMAND_TIMEOUT_MS, killSignal: 'SIGKILL' })
  return stdout
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const { promise: ended, resolve } = Promise.withResolvers<void>()
  child.once('exit', () => resolve())
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), END_TIMEOUT_MS)
  await ended
  clearTimeout(timer)
}
