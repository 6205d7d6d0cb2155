import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, rename, stat } from 'node:fs/promises'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { tailOfFile } from './log-tail.ts'
import { findProcess, type ProcessIdentity } from './process-identity.ts'
import { endProcess, type ProcessLedger } from './process-ledger.ts'
import { waitUntil } from './wait-until.ts'

const LOG_BYTES_MAX = 16 * 1024 * 1024
const STOP_TIMEOUT_MS = 20_000

export interface ProcessSpec {
  readonly name: string
  readonly file: string
  readonly args: readonly string[]
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  /** Standard output and error go here, appended; a file past 16 MiB is kept once as `.1`. */
  readonly logFile: string
  /** Whether it serves now; may reject for "not yet". */
  readonly ready: (signal: AbortSignal) => Promise<boolean>
  readonly readyTimeoutMs: number
  readonly stopSignal?: 'SIGTERM' | 'SIGINT'
}

/** How a process ended that nobody had asked to end. */
export interface UnexpectedEnd {
  readonly name: string
  readonly reason: string
  readonly logFile: string
}

/**
 * One long-running program of the stack: started in a process group of its own (a terminal's Ctrl-C does not reach it, so
 * the stack decides the order), with a log file, a readiness probe and a deadline.
 */
export class ManagedProcess {
  readonly spec: ProcessSpec
  readonly #ledger: ProcessLedger
  readonly #onUnexpectedEnd: (end: UnexpectedEnd) => void
  #child: ChildProcess | undefined
  #logStartByte = 0
  #identity: ProcessIdentity | undefined
  /** Serves and was not asked to stop: only then an end is unexpected. */
  #serving = false

  constructor(spec: ProcessSpec, ledger: ProcessLedger, onUnexpectedEnd: (end: UnexpectedEnd) => void) {
    this.spec = spec
    this.#ledger = ledger
    this.#onUnexpectedEnd = onUnexpectedEnd
  }

  get name(): string {
    return this.spec.name
  }

  get pid(): number | undefined {
    return this.#identity?.pid
  }

  get isRunning(): boolean {
    return this.#child !== undefined
  }

  /** Resolves when the readiness probe says yes. Rejects with `stack.start_failed` and the end of the log otherwise. */
  async start(options: { signal: AbortSignal }): Promise<void> {
    if (this.#child !== undefined) throw new PlatformError('stack.already_running', `${this.name} runs already`)
    const child = await this.#spawn()
    const ended = once(child, 'exit').then(([code, killer]) => this.#ended(child, code, killer))
    const endedEarly = ended.then((reason): never => {
      throw new PlatformError('stack.start_failed', `${this.name} ended at once: ${reason}`)
    })
    const timeoutMs = this.spec.readyTimeoutMs
    const serving = waitUntil(`${this.name} to be ready`, this.spec.ready, { ...options, timeoutMs })
    try {
      await Promise.race([serving, endedEarly])
      endedEarly.catch(() => {}) // from now on an end is reported by onUnexpectedEnd
      this.#serving = true
    } catch (error) {
      serving.catch(() => {})
      endedEarly.catch(() => {})
      await this.stop()
      options.signal.throwIfAborted()
      const message = error instanceof Error ? error.message : String(error)
      const log = await tailOfFile(this.spec.logFile, this.#logStartByte)
      throw new PlatformError('stack.start_failed', `${message}\n--- ${this.spec.logFile}\n${log}`, { cause: error })
    }
  }

  /** Asks it to end, kills it after a deadline. Resolves when it is gone; also when it was not running. */
  async stop(): Promise<void> {
    await this.#end(this.spec.stopSignal ?? 'SIGTERM')
  }

  /** SIGKILL, as a crash would. Resolves when it is gone. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  async restart(options: { signal: AbortSignal }): Promise<void> {
    await this.stop()
    await this.start(options)
  }

  async #spawn(): Promise<ChildProcess> {
    const { spec } = this
    await mkdir(path.dirname(spec.logFile), { recursive: true })
    const size = await stat(spec.logFile).then(
      (facts) => facts.size,
      () => 0,
    )
    if (size > LOG_BYTES_MAX) await rename(spec.logFile, `${spec.logFile}.1`)
    this.#logStartByte = size > LOG_BYTES_MAX ? 0 : size
    await using log = await open(spec.logFile, 'a')
    const stdio = ['ignore', log.fd, log.fd] as const
    const child = spawn(spec.file, [...spec.args], { cwd: spec.cwd, env: spec.env, detached: true, stdio: [...stdio] })
    await Promise.race([
      once(child, 'spawn'),
      once(child, 'error').then(([error]): never => {
        const message = error instanceof Error ? error.message : String(error)
        throw new PlatformError('stack.start_failed', `${spec.name} cannot be started: ${message}`, { cause: error })
      }),
    ])
    this.#child = child
    this.#identity = child.pid === undefined ? undefined : findProcess(child.pid)
    if (this.#identity !== undefined) {
      await this.#ledger.record(spec.name, this.#identity, spec.stopSignal ?? 'SIGTERM')
    }
    return child
  }

  async #ended(child: ChildProcess, code: number | null, killer: NodeJS.Signals | null): Promise<string> {
    const reason = killer === null ? `exit code ${code ?? 'unknown'}` : `killed by ${killer}`
    if (this.#child === child) {
      this.#child = undefined
      await this.#ledger.forget(this.name)
      if (this.#serving) this.#onUnexpectedEnd({ name: this.name, reason, logFile: this.spec.logFile })
    }
    return reason
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const identity = this.#identity
    this.#serving = false
    if (identity === undefined) return
    await endProcess(identity, signal, { signal: new AbortController().signal, timeoutMs: STOP_TIMEOUT_MS })
    this.#child = undefined
    this.#identity = undefined
    await this.#ledger.forget(this.name)
  }
}
