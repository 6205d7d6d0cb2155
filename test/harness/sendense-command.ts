import { spawn } from 'node:child_process'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { checkoutDir } from '@sendense/infra/stack/stack-paths.ts'

export interface CommandOptions {
  readonly input?: string
  readonly timeoutMs?: number
  readonly environment?: Readonly<Record<string, string>>
  /** Hears each piece of stdout as it comes. */
  readonly onOutput?: (piece: string) => void
  /** Sends SIGINT when it is aborted, as Ctrl-C does. */
  readonly interrupt?: AbortSignal
}

export interface CommandEnd {
  readonly exitCode: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs `sendense` as a user would, with a home of its own. */
export class SendenseCommand {
  readonly #environment: NodeJS.ProcessEnv

  constructor(options: { homeDir: string; url: string }) {
    // Nothing of the tester's own session may help.
    this.#environment = { PATH: process.env['PATH'], HOME: options.homeDir, SENDENSE_URL: options.url, TZ: 'UTC' }
  }

  async run(args: readonly string[], options: CommandOptions = {}): Promise<CommandEnd> {
    const child = spawn(process.execPath, [path.join(checkoutDir, 'cli/bin/sendense.mjs'), ...args], {
      env: { ...this.#environment, ...options.environment },
      timeout: options.timeoutMs ?? 150_000,
    })
    child.stdin.on('error', () => {}) // it may end before it reads
    child.stdin.end(options.input ?? '')
    child.stdout.setEncoding('utf8').on('data', (piece: string) => options.onOutput?.(piece))
    options.interrupt?.addEventListener('abort', () => child.kill('SIGINT'))
    const ended = Promise.withResolvers<number | null>()
    child.on('error', ended.reject).on('close', ended.resolve)
    const [exitCode, stdout, stderr] = await Promise.all([ended.promise, text(child.stdout), text(child.stderr)])
    return { exitCode, stdout, stderr }
  }
}
