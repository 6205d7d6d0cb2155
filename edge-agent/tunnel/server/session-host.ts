import type { Socket } from 'node:net'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { readInChunks } from '../ssh/chunk-socket.ts'
import { type Ed25519Key, readEd25519Key } from '../ssh/ed25519-key.ts'
import type { SessionOrder, SessionReport } from './session-messages.ts'
import { type LoginRequest, TunnelSession } from './tunnel-session.ts'

type StartOrder = Extract<SessionOrder, { type: 'start' }>

interface HostedSession {
  readonly session: TunnelSession
  onLoginAnswer: ((ports: readonly number[] | undefined) => void) | undefined
  readonly onForwardAnswer: Map<number, (isDone: boolean) => void>
}

/**
 * Runs SSH connections as a server tells it to, and tells it what they want. It decides nothing but what
 * TunnelSession decides; the sockets come along with orders. Needs `ssh2Loaded`.
 */
export class SessionHost {
  readonly #start: StartOrder
  readonly #hostKey: Ed25519Key
  readonly #report: (report: SessionReport) => void
  readonly #sessions = new Map<number, HostedSession>()

  constructor(start: StartOrder, report: (report: SessionReport) => void) {
    this.#start = start
    this.#hostKey = readEd25519Key(start.hostKey, 'the host key of the tunnel')
    this.#report = report
  }

  /** @param socket comes along with `accept` and `open`, unless it was closed on its way */
  obey(order: Exclude<SessionOrder, StartOrder>, socket: Socket | undefined): void {
    const { sessionId } = order
    if (order.type === 'accept') {
      if (socket === undefined) this.#report({ type: 'ended', sessionId })
      else this.#accept(sessionId, socket)
      return
    }
    const hosted = this.#sessions.get(sessionId)
    // It may have ended while the order was under way.
    if (hosted === undefined) {
      socket?.destroy()
      return
    }
    switch (order.type) {
      case 'login-answer':
        hosted.onLoginAnswer?.(order.ports)
        break
      case 'forward-answer':
        hosted.onForwardAnswer.get(order.port)?.(order.isDone)
        break
      case 'open':
        if (socket !== undefined) hosted.session.openChannel(order.port, readInChunks(socket))
        break
      case 'close':
        hosted.session.close(new PlatformError('tunnel.disconnected', order.why))
        break
      default:
        order satisfies never
    }
  }

  #accept(sessionId: number, socket: Socket): void {
    const { limits, times } = this.#start
    const hosted: HostedSession = {
      session: new TunnelSession({
        chunks: readInChunks(socket),
        hostKey: this.#hostKey,
        limits,
        times,
        onLogin: async (request) => await this.#ask(sessionId, hosted, request),
        onForward: async (port, wanted) => await this.#askForward(sessionId, hosted, port, wanted),
        onRefused: (what) => this.#report({ type: 'refused', sessionId, what }),
        onChannels: (channels) => this.#report({ type: 'channels', sessionId, channels }),
        onEnded: (error) => {
          this.#sessions.delete(sessionId)
          hosted.onLoginAnswer?.(undefined)
          for (const answer of hosted.onForwardAnswer.values()) answer(false)
          const told = error === undefined ? {} : { error: { code: error.code, message: error.message } }
          this.#report({ type: 'ended', sessionId, ...told })
        },
      }),
      onLoginAnswer: undefined,
      onForwardAnswer: new Map(),
    }
    this.#sessions.set(sessionId, hosted)
  }

  async #ask(sessionId: number, hosted: HostedSession, request: LoginRequest): Promise<readonly number[] | undefined> {
    const { promise, resolve } = Promise.withResolvers<readonly number[] | undefined>()
    hosted.onLoginAnswer = resolve
    this.#report({ type: 'login', sessionId, ...request })
    return await promise
  }

  async #askForward(sessionId: number, hosted: HostedSession, port: number, wanted: boolean): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    hosted.onForwardAnswer.set(port, resolve)
    this.#report({ type: 'forward', sessionId, port, wanted })
    const isDone = await promise
    hosted.onForwardAnswer.delete(port)
    return isDone
  }
}
