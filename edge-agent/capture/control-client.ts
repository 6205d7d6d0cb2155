import { setTimeout as delay } from 'node:timers/promises'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { retryDelayMs } from '@sendense/shared/runtime/retry-delay.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { CaptureMethod, ParamsOf, ResultOf } from './capture-protocol.ts'
import { type ConnectionCallOptions, ControlConnection } from './control-connection.ts'

const DIAL_TIMEOUT_MS = 15_000
const REDIAL = { baseMs: 100, capMs: 5000 }
/** Of one request that may be repeated. */
const SENT_MAX = 5

export interface ControlClientOptions {
  /** Where the control socket is reached. */
  readonly path: string
  /** For messages. */
  readonly name: string
  /** How long a lost connection is waited for, from its loss on. */
  readonly patienceMs: number
  /** Runs on each new connection before anybody else uses it: what the one before held is taken up again. */
  readonly onConnected: (connection: ControlConnection) => Promise<void>
}

export interface ControlCallOptions extends ConnectionCallOptions {
  /** Not sent again when its answer was lost with the connection. */
  readonly once?: boolean
  /** Waits less than the patience for a connection that is lost. */
  readonly waitMs?: number
}

/**
 * Keeps one connection to a capture agent up, for as long as this object lives: lost ones are dialled again with full
 * jitter. Requests wait for it as long as the patience lasts, and those whose answer was lost are sent again.
 */
export class ControlClient implements AsyncDisposable {
  readonly #options: ControlClientOptions
  readonly #over = new AbortController()
  readonly #kept: Promise<void>
  #up = Promise.withResolvers<ControlConnection>()
  #current: ControlConnection | undefined
  #lostAtMs = Date.now()
  #lastError: unknown
  #nudged = new AbortController()

  constructor(options: ControlClientOptions) {
    this.#options = options
    this.#up.promise.catch(() => {})
    this.#kept = this.#keep()
  }

  get isConnected(): boolean {
    return this.#current !== undefined
  }

  /** Rejects as `ControlConnection.call`, but with `source.unreachable` for what a cut or a silent host causes. */
  async call<M extends CaptureMethod>(
    method: M,
    params: ParamsOf<M>,
    { once = false, waitMs = Number.POSITIVE_INFINITY, ...call }: ControlCallOptions,
  ): Promise<ResultOf<M>> {
    for (let sent = 1; ; sent += 1) {
      const connection = await this.#connected({ signal: call.signal, waitMs })
      try {
        return await connection.call(method, params, call)
      } catch (error) {
        if (isPlatformError(error, 'capture.no_answer')) throw this.#unreachable(error)
        if (!connection.closed.aborted || !isPlatformError(error, 'capture.disconnected')) throw error
        this.#lose(connection)
        if (once || sent === SENT_MAX) throw this.#unreachable(error)
      }
    }
  }

  /** The way may be there again: does not wait any longer before it is tried. */
  nudge(): void {
    this.#nudged.abort()
  }

  /** Sends a request whose outcome does not matter, if there is a connection; never waits. */
  tell<M extends CaptureMethod>(method: M, params: ParamsOf<M>): void {
    this.#current?.call(method, params, { signal: this.#over.signal }).catch(() => {})
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort(new PlatformError('source.unreachable', `${this.#options.name} is not used any more`))
    this.#up.reject(this.#over.signal.reason)
    await this.#current?.[Symbol.asyncDispose]()
    await this.#kept
  }

  async #connected({ signal, waitMs }: CallOptions & { readonly waitMs: number }): Promise<ControlConnection> {
    signal.throwIfAborted()
    this.#over.signal.throwIfAborted()
    if (this.#current !== undefined) return this.#current
    const leftMs = Math.min(waitMs, this.#lostAtMs + this.#options.patienceMs - Date.now())
    if (leftMs <= 0 || isPlatformError(this.#lastError, 'capture.version_unsupported')) {
      throw this.#unreachable(this.#lastError)
    }
    const late = AbortSignal.timeout(leftMs)
    try {
      return await untilAborted(this.#up.promise, AbortSignal.any([signal, late]))
    } catch (error) {
      signal.throwIfAborted()
      if (late.aborted) throw this.#unreachable(this.#lastError)
      throw error
    }
  }

  async #keep(): Promise<void> {
    const { signal } = this.#over
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      try {
        const connection = await this.#dial()
        attempt = -1
        await closing(connection.closed)
        this.#lose(connection)
      } catch (error) {
        this.#lastError = error
      }
      await this.#rest(retryDelayMs(Math.max(0, attempt), REDIAL))
    }
  }

  async #rest(pauseMs: number): Promise<void> {
    this.#nudged = new AbortController()
    const signal = AbortSignal.any([this.#over.signal, this.#nudged.signal])
    await delay(pauseMs, undefined, { signal }).catch(() => {})
  }

  async #dial(): Promise<ControlConnection> {
    const { path, onConnected } = this.#options
    const signal = AbortSignal.any([this.#over.signal, AbortSignal.timeout(DIAL_TIMEOUT_MS)])
    const connection = await ControlConnection.open(path, { role: 'agent', signal })
    try {
      await onConnected(connection)
      connection.closed.throwIfAborted()
      this.#over.signal.throwIfAborted()
    } catch (error) {
      await connection[Symbol.asyncDispose]()
      throw error
    }
    this.#current = connection
    this.#up.resolve(connection)
    return connection
  }

  #lose(connection: ControlConnection): void {
    if (this.#current !== connection) return
    this.#current = undefined
    this.#lostAtMs = Date.now()
    this.#lastError = connection.closed.reason
    this.#up = Promise.withResolvers()
    this.#up.promise.catch(() => {})
  }

  #unreachable(cause: unknown): PlatformError {
    const { name, patienceMs } = this.#options
    const why = cause instanceof Error ? `: ${cause.message}` : ''
    return new PlatformError('source.unreachable', `the KVM host ${name} cannot be reached${why}`, {
      cause,
      details: { host: name, patienceMs },
    })
  }
}

async function closing(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
