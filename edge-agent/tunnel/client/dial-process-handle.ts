import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { ErrorCode } from '@sendense/shared/errors/error-codes.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { tunnelProcessFlags } from '../ssh/packet-memory.ts'
import { type DialOrder, DialReport, type LocalTarget } from './dial-messages.ts'

const RESTART_AFTER_MS = 1000
/** For farewells to leave; a process that needs longer is killed. */
const STOP_WITHIN_MS = 2000

const PROGRAM = new URL('./dial-process.ts', import.meta.url)

export interface DialProcessOptions {
  /** Called at each start: the targets are those of that moment. */
  readonly start: () => Extract<DialOrder, { type: 'start' }>
  readonly clock: Clock
  readonly logger: Logger
  readonly onState: (report: Extract<DialReport, { type: 'state' }>) => void
  /** What the process runs: `dial-process.ts`, or a test's around it. */
  readonly program?: URL | undefined
}

/**
 * The process that keeps one tunnel up; replaced when it dies. When it says what it must not it is not heard any more and
 * killed, and `onState` is told `tunnel.process_failed`.
 */
export class DialProcess implements AsyncDisposable {
  readonly #options: DialProcessOptions
  readonly #over = new AbortController()
  /** Who waits for the process to know a target. */
  readonly #waiting = new Map<number, () => void>()
  #child: ChildProcess
  #lastOrderId = 0
  #isConnected = false
  /** It said what it must not and is being ended. */
  #isFaulty = false

  constructor(options: DialProcessOptions) {
    this.#options = options
    this.#child = this.#start()
  }

  get isConnected(): boolean {
    return this.#isConnected
  }

  /** Resolves when connections lead there; a process that dies meanwhile is told by its `start`. */
  async setTarget(port: number, target: LocalTarget | undefined): Promise<void> {
    if (!this.#child.connected) return
    const orderId = ++this.#lastOrderId
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.set(orderId, resolve)
    this.#tell({ type: 'target', orderId, port, ...(target === undefined ? {} : { target }) })
    await promise
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort(new Error('the tunnel was closed'))
    const child = this.#child
    if (child.exitCode !== null || child.signalCode !== null) return
    const { promise, resolve } = Promise.withResolvers<void>()
    child.once('exit', () => resolve())
    this.#tell({ type: 'stop' })
    const killing = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS)
    await promise
    clearTimeout(killing)
  }

  #start(): ChildProcess {
    this.#isFaulty = false
    const child = fork(fileURLToPath(this.#options.program ?? PROGRAM), {
      execArgv: [...tunnelProcessFlags],
      env: {},
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    child.on('message', (message: unknown) => this.#onMessage(child, message))
    child.on('error', (error) => this.#options.logger.warn({ err: error }, 'the process of a tunnel makes trouble'))
    child.once('exit', (code, signal) => void this.#onExit(code, signal))
    child.send(this.#options.start(), (error) => {
      if (error !== null) this.#options.logger.warn({ err: error }, 'the process of a tunnel could not be started')
    })
    return child
  }

  #tell(order: DialOrder): void {
    // Where it cannot be told it is about to die, and its end answers whoever waits.
    if (this.#child.connected) this.#child.send(order, () => undefined)
  }

  #onMessage(child: ChildProcess, message: unknown): void {
    if (this.#isFaulty) return
    const parsed = DialReport.safeParse(message)
    if (parsed.success) {
      this.#onReport(parsed.data)
      return
    }
    this.#isFaulty = true
    const { logger } = this.#options
    logger.error({ err: parsed.error, pid: child.pid }, 'the process of a tunnel says what it must not')
    child.kill('SIGKILL')
  }

  #onReport(report: DialReport): void {
    if (report.type === 'state') {
      this.#isConnected = report.isConnected
      this.#options.onState(report)
      return
    }
    this.#waiting.get(report.orderId)?.()
    this.#waiting.delete(report.orderId)
  }

  async #onExit(code: number | null, signal: NodeJS.Signals | null): Promise<void> {
    const wasConnected = this.#isConnected
    this.#isConnected = false
    for (const resolve of this.#waiting.values()) resolve()
    this.#waiting.clear()
    if (this.#over.signal.aborted) return
    const { clock, logger, onState } = this.#options
    logger.error({ code, signal }, 'the process of a tunnel died')
    if (this.#isFaulty) onState(lost('tunnel.process_failed', 'the process of the tunnel said what it must not'))
    else if (wasConnected) onState(lost('tunnel.disconnected', 'the process of the tunnel died'))
    await clock.sleep(RESTART_AFTER_MS, { signal: this.#over.signal }).catch(() => undefined)
    if (!this.#over.signal.aborted) this.#child = this.#start()
  }
}

function lost(code: ErrorCode, message: string): Extract<DialReport, { type: 'state' }> {
  return { type: 'state', isConnected: false, error: { code, message } }
}
