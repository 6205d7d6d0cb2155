import { setTimeout as delay } from 'node:timers/promises'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { retryDelayMs } from '@sendense/shared/runtime/retry-delay.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { z } from 'zod'
import type { CallOptions } from '../block/block-source.ts'
import type { QmpCallOptions, QmpConnection, QmpListener } from './qmp-connection.ts'

const COMMAND_TIMEOUT_MS = 30_000
const DIAL_TIMEOUT_MS = 10_000
const REDIAL = { baseMs: 100, capMs: 2000 }
/** Of one command that may be sent again. */
const SENT_MAX = 10

/** One connection, owned by who gets it. */
export interface DialledQmp extends QmpConnection, AsyncDisposable {}

export interface LastingQmpOptions {
  /** For messages: whose monitor it is. */
  readonly what: string
  /** Makes one connection. */
  readonly dial: (options: CallOptions) => Promise<DialledQmp>
  /** How long a lost connection is dialled again. */
  readonly patienceMs: number
  /** Says that dialling again is of no use: QEMU has ended. */
  readonly isFinal: (error: unknown) => boolean
}

/**
 * A monitor behind a way that may be cut. A lost connection is dialled again, with full jitter, for as long as the
 * patience lasts. Commands wait for it; one whose answer was lost is sent again only where it says that it may be, all
 * others reject with `qemu.disconnected`. A command that was not sent within its own time never is.
 */
export class LastingQmp implements QmpConnection, AsyncDisposable {
  readonly #options: LastingQmpOptions
  readonly #closed = new AbortController()
  readonly #listeners = new Set<QmpListener>()
  #current: DialledQmp | undefined
  #next = Promise.withResolvers<DialledQmp>()
  #redialling: Promise<void> = Promise.resolve()

  private constructor(options: LastingQmpOptions) {
    this.#options = options
    this.#next.promise.catch(() => {})
  }

  /** Rejects as the first dial does. */
  static async open(options: LastingQmpOptions, call: CallOptions): Promise<LastingQmp> {
    const lasting = new LastingQmp(options)
    lasting.#use(await options.dial(call))
    return lasting
  }

  get closed(): AbortSignal {
    return this.#closed.signal
  }

  async execute<T>(command: string, args: object, answer: z.ZodType<T>, options: QmpCallOptions): Promise<T> {
    const repeatable = options.repeatable === true || command.startsWith('query-')
    if (repeatable) return await this.#send(command, args, answer, options)
    const { timeoutMs = COMMAND_TIMEOUT_MS } = options
    const late = new AbortController()
    const timer = setTimeout(() => {
      const text = `${command} was not answered within ${timeoutMs} ms`
      late.abort(new PlatformError('qemu.timeout', text, { details: { timeoutMs } }))
    }, timeoutMs)
    try {
      const signal = AbortSignal.any([options.signal, late.signal])
      return await this.#send(command, args, answer, { ...options, signal, once: true })
    } finally {
      clearTimeout(timer)
    }
  }

  subscribe(listener: QmpListener): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const current = this.#current
    this.#end(new PlatformError('qemu.disconnected', `the connection to ${this.#options.what} was closed`))
    await current?.[Symbol.asyncDispose]()
    await this.#redialling
  }

  async #send<T>(
    command: string,
    args: object,
    answer: z.ZodType<T>,
    { once = false, ...options }: QmpCallOptions & { readonly once?: boolean },
  ): Promise<T> {
    for (let sent = 1; ; sent += 1) {
      options.signal.throwIfAborted()
      this.#closed.signal.throwIfAborted()
      const connection = this.#current ?? (await untilAborted(this.#next.promise, options.signal))
      try {
        return await connection.execute(command, args, answer, options)
      } catch (error) {
        if (once || sent === SENT_MAX || !isPlatformError(error, 'qemu.disconnected')) throw error
      }
      // Its end and the command's come in one turn, in whatever order.
      if (connection === this.#current) this.#lose(connection)
    }
  }

  #use(connection: DialledQmp): void {
    this.#current = connection
    this.#next.resolve(connection)
    connection.subscribe({
      event: (event) => {
        for (const listener of this.#listeners) listener.event(event)
      },
    })
    connection.closed.addEventListener('abort', () => this.#lose(connection), { once: true })
    if (connection.closed.aborted) this.#lose(connection)
  }

  #lose(connection: DialledQmp): void {
    if (this.#closed.signal.aborted || this.#current !== connection) return
    this.#current = undefined
    this.#next = Promise.withResolvers()
    this.#next.promise.catch(() => {})
    this.#redialling = this.#redial(connection)
  }

  async #redial(lost: DialledQmp): Promise<void> {
    await lost[Symbol.asyncDispose]()
    const { what, patienceMs, dial, isFinal } = this.#options
    const giveUpMs = Date.now() + patienceMs
    let cause: unknown = lost.closed.reason
    for (let attempt = 0; !this.#closed.signal.aborted; attempt += 1) {
      const leftMs = giveUpMs - Date.now()
      if (leftMs <= 0) {
        const text = `the connection to ${what} was lost for longer than ${patienceMs} ms`
        this.#end(new PlatformError('qemu.disconnected', text, { cause, details: { patienceMs } }))
        return
      }
      const timeout = AbortSignal.timeout(Math.min(leftMs, DIAL_TIMEOUT_MS))
      const signal = AbortSignal.any([this.#closed.signal, timeout])
      try {
        await this.#resume(await dial({ signal }))
        return
      } catch (error) {
        if (this.#closed.signal.aborted) return
        cause = error
        if (isFinal(error)) {
          this.#end(new PlatformError('qemu.disconnected', `${what} is gone`, { cause }))
          return
        }
        const pauseMs = Math.min(retryDelayMs(attempt, REDIAL), Math.max(0, giveUpMs - Date.now()))
        await delay(pauseMs, undefined, { signal: this.#closed.signal }).catch(() => {})
      }
    }
  }

  async #resume(connection: DialledQmp): Promise<void> {
    if (this.#closed.signal.aborted) {
      await connection[Symbol.asyncDispose]()
      return
    }
    this.#use(connection)
    if (this.#current !== connection) return
    for (const listener of this.#listeners) listener.resumed?.()
  }

  #end(error: PlatformError): void {
    if (this.#closed.signal.aborted) return
    this.#current = undefined
    this.#closed.abort(error)
    this.#next.reject(error)
    this.#listeners.clear()
  }
}
