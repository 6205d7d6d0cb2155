import { type ChildProcess, fork } from 'node:child_process'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { tunnelProcessFlags } from '../ssh/packet-memory.ts'
import { type SessionOrder, SessionReport } from './session-messages.ts'

type StartOrder = Extract<SessionOrder, { type: 'start' }>

interface SessionProcess {
  readonly child: ChildProcess
  readonly sessions: Set<number>
}

export interface SessionProcessesOptions {
  readonly start: StartOrder
  /** As many as there are connections, up to this. */
  readonly processesMax: number
  readonly logger: Logger
  readonly onReport: (report: SessionReport) => void
}

/**
 * The processes SSH connections run in. A connection goes to the process with the fewest; a process is started when
 * each has one. One that dies takes its connections with it (`ended` is reported for each), and is replaced when the
 * next connection comes.
 */
export class SessionProcesses implements AsyncDisposable {
  readonly #options: SessionProcessesOptions
  readonly #processes = new Set<SessionProcess>()
  readonly #processOf = new Map<number, SessionProcess>()
  #isClosed = false

  constructor(options: SessionProcessesOptions) {
    this.#options = options
  }

  /** Hands a connection on. From now on reports of `sessionId` come, `ended` as the last one. */
  accept(sessionId: number, socket: Socket): void {
    const chosen = this.#choose()
    chosen.sessions.add(sessionId)
    this.#processOf.set(sessionId, chosen)
    this.#send(chosen, { type: 'accept', sessionId }, socket)
  }

  /** Does nothing for a session that has ended; a socket that comes along is closed then. */
  tell(order: Exclude<SessionOrder, StartOrder>, socket?: Socket): void {
    const found = this.#processOf.get(order.sessionId)
    if (found === undefined) socket?.destroy()
    else this.#send(found, order, socket)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    await Promise.all(
      [...this.#processes].map(async ({ child }) => {
        if (child.exitCode !== null || child.signalCode !== null) return
        const { promise, resolve } = Promise.withResolvers<void>()
        child.once('exit', () => resolve())
        child.kill('SIGKILL')
        await promise
      }),
    )
  }

  #choose(): SessionProcess {
    const [least] = [...this.#processes].toSorted((a, b) => a.sessions.size - b.sessions.size)
    const isEnough = this.#processes.size >= this.#options.processesMax
    return least !== undefined && (isEnough || least.sessions.size === 0) ? least : this.#start()
  }

  #start(): SessionProcess {
    const file = fileURLToPath(new URL('./session-process.ts', import.meta.url))
    const child = fork(file, {
      execArgv: [...tunnelProcessFlags],
      env: {},
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    // Node adds listeners of its own for each listening socket whose connections are handed on.
    child.setMaxListeners(0)
    const started = { child, sessions: new Set<number>() }
    this.#processes.add(started)
    child.on('message', (message: unknown) => {
      const report = SessionReport.parse(message)
      if (report.type === 'ended') this.#forget(started, report.sessionId)
      this.#options.onReport(report)
    })
    child.on('error', (error) => this.#options.logger.warn({ err: error }, 'a process for tunnels makes trouble'))
    child.on('exit', (code, signal) => this.#onExit(started, code, signal))
    this.#send(started, this.#options.start)
    return started
  }

  #send({ child }: SessionProcess, order: SessionOrder, socket?: Socket): void {
    if (!child.connected) {
      socket?.destroy()
      return
    }
    child.send(order, socket, (error) => {
      if (error !== null) socket?.destroy()
    })
  }

  #onExit(dead: SessionProcess, code: number | null, signal: NodeJS.Signals | null): void {
    this.#processes.delete(dead)
    if (!this.#isClosed) {
      this.#options.logger.error({ code, signal, sessions: dead.sessions.size }, 'a process for tunnels died')
    }
    for (const sessionId of dead.sessions) {
      this.#processOf.delete(sessionId)
      const error = { code: 'tunnel.disconnected' as const, message: 'the process of the connection died' }
      this.#options.onReport({ type: 'ended', sessionId, error })
    }
  }

  #forget(from: SessionProcess, sessionId: number): void {
    from.sessions.delete(sessionId)
    this.#processOf.delete(sessionId)
  }
}
