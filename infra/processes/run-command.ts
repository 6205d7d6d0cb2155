import { execFile } from 'node:child_process'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

const OUTPUT_BYTES_MAX = 16 * 1024 * 1024
const DEADLINE_DEFAULT_MS = 120_000
const ARGUMENTS_SHOWN = 3

export interface CommandOptions {
  readonly signal: AbortSignal
  readonly cwd?: string
  /** Replaces the environment; absent: this process's own. */
  readonly env?: NodeJS.ProcessEnv
  /** Effective user of the command; absent: this process's own. */
  readonly uid?: number
  readonly gid?: number
  readonly input?: string
  readonly timeoutMs?: number
}

/**
 * Runs one program to its end, without a shell, and returns its standard output as UTF-8.
 * Rejects with `setup.command_failed` that quotes the end of what the program said.
 */
export async function runCommand(file: string, args: readonly string[], options: CommandOptions): Promise<string> {
  const { signal, input, timeoutMs = DEADLINE_DEFAULT_MS, ...rest } = options
  return await new Promise((resolve, reject) => {
    const settings = { ...rest, signal, timeout: timeoutMs, maxBuffer: OUTPUT_BYTES_MAX, encoding: 'utf8' } as const
    const child = execFile(file, args, settings, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout)
      if (signal.aborted) return reject(signal.reason)
      const said = `${stdout}\n${stderr}`.trim().split('\n').slice(-15).join('\n')
      const why =
        error.killed === true
          ? `did not end within ${timeoutMs / 1000} s`
          : `failed (${error.code ?? error.signal ?? 'no exit code'})`
      // neither all arguments nor the cause: they may hold passwords
      const name = [file, ...args.slice(0, ARGUMENTS_SHOWN)].map((part) => path.basename(part)).join(' ')
      reject(new PlatformError('setup.command_failed', `${name} ${why}\n${said}`))
    })
    child.stdin?.on('error', () => {}) // the program may end before it has read all; its exit code tells
    child.stdin?.end(input ?? '')
  })
}
