import { type ChildProcess, fork } from 'node:child_process'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { tunnelProcessFlags } from '../ssh/packet-memory.ts'
import { ProcessReport, type SessionOrder, type SessionReport } from './session-messages.ts'

type StartOrder = Extract<SessionOrder, { type: 'start' }>

interface SessionProcess {
  readonly child: ChildProcess
  readonly sessions: Set<number>
  /**
   * On their way to it, in their order. Ours stay open until it has them, and are closed by us: Node hands them on one by
   * one, and closes none that are under way when the process dies.
   */
  readonly sockets: Socket[]
  /** It said what it must not and is being ended. */
  isFaulty: boolean
}

const PROGRAM = new URL('./session-process.ts', import.meta.url)

export interface SessionProcessesOptions {
  readonly start: StartOrder
  /** As many as there are connections, up to this. */
  readonly processesMax: number
  readonly logger: Logger
  readonly onReport: (report: SessionReport) => void
  /** What a process runs: `session-process.ts`, or a test's around it. */
  readonly program?: URL
}

/**
 * The processes SSH connections run in. A connection goes to the process with the fewest; a process is started when
 * each has one. One that dies takes its connections with it (`ended` is reported for each, with `tunnel.disconnected`),
 * and is replaced when the next connection comes. One that says what it must not, or speaks for another's connections,
 * is not heard any more and killed: `ended` comes with `tunnel.process_failed`.
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
    const sound = [...this.#processes].filter(({ isFaulty }) => !isFaulty)
    const [least] = sound.toSorted((a, b) => a.sessions.size - b.sessions.size)
    const isEnough = sound.length >= this.#options.processesMax
    return least !== undefined && (isEnough || least.sessions.size === 0) ? least : this.#start()
  }

  #start(): SessionProcess {
    const child = fork(fileURLToPath(this.#options.program ?? PROGRAM), {
      execArgv: [...tunnelProcessFlags],
      env: {},
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    // Node adds listeners of its own for each listening socket whose connections are handed on.
    child.setMaxListeners(0)
    const started: SessionProcess = { child, sessions: new Set<number>(), sockets: [], isFaulty: false }
    this.#processes.add(started)
    child.on('message', (message: unknown) => this.#onMessage(started, message))
    child.on('error', (error) => this.#options.logger.warn({ err: error }, 'a process for tunnels makes trouble'))
    child.on('exit', (code, signal) => this.#onExit(started, code, signal))
    this.#send(started, this.#options.start)
    return started
  }

  #onMessage(from: SessionProcess, message: unknown): void {
    if (from.isFaulty) return
    const { success, data: report, error } = ProcessReport.safeParse(message)
    if (!success) this.#endFaulty(from, error)
    else if (report.type === 'taken') this.#onTaken(from)
    else this.#onReport(from, report)
  }

  #onTaken(from: SessionProcess): void {
    const socket = from.sockets.shift()
    if (socket === undefined) this.#endFaulty(from, new Error('it takes a socket that it was not sent'))
    else socket.destroy()
  }

  #onReport(from: SessionProcess, report: SessionReport): void {
    const owner = this.#processOf.get(report.sessionId)
    // What is said of a session that has ended comes too late to matter.
    if (owner === undefined) return
    if (owner !== from) {
      this.#endFaulty(from, new Error(`it speaks for session ${report.sessionId}, which is not its own`))
      return
    }
    if (report.type === 'ended') this.#forget(from, report.sessionId)
    this.#options.onReport(report)
  }

  #endFaulty(faulty: SessionProcess, cause: Error): void {
    faulty.isFaulty = true
    this.#options.logger.error({ err: cause, pid: faulty.child.pid }, 'a process for tunnels says what it must not')
    faulty.child.kill('SIGKILL')
  }

  #send({ child, sockets }: SessionProcess, order: SessionOrder, socket?: Socket): void {
    if (!child.connected) {
      socket?.destroy()
      return
    }
    if (socket === undefined) {
      child.send(order, () => undefined)
      return
    }
    sockets.push(socket)
    child.send(order, socket, { keepOpen: true }, () => undefined)
  }

  #onExit(dead: SessionProcess, code: number | null, signal: NodeJS.Signals | null): void {
    this.#processes.delete(dead)
    for (const socket of dead.sockets) socket.destroy()

    if (!this.#isClosed) {
      this.#options.logger.error({ code, signal, sessions: dead.sessions.size }, 'a process for tunnels died')
    }
    const error = dead.isFaulty
      ? { code: 'tunnel.process_failed' as const, message: 'the process of the connection said what it must not' }
      : { code: 'tunnel.disconnected' as const, message: 'the process of the connection died' }
    for (const sessionId of dead.sessions) {
      this.#processOf.delete(sessionId)
      this.#options.onReport({ type: 'ended', sessionId, error })
    }
  }

  #forget(from: SessionProcess, sessionId: number): void {
    from.sessions.delete(sessionId)
    this.#processOf.delete(sessionId)
  }
}
