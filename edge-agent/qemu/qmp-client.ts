import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import { JsonLineSocket } from './json-line-socket.ts'
import type { QmpCallOptions, QmpConnection, QmpEvent, QmpListener } from './qmp-connection.ts'
import { withDeadline } from './with-deadline.ts'

const COMMAND_TIMEOUT_MS = 30_000
const IN_FLIGHT_MAX = 64

const Greeting = z.object({ QMP: z.object({ version: z.unknown() }) })
const Event = z.object({ event: z.string(), data: z.record(z.string(), z.unknown()).optional() })
const Failure = z.object({ error: z.object({ class: z.string(), desc: z.string() }), id: z.number().optional() })
const Success = z.object({ return: z.unknown(), id: z.number().optional() })
const Message = z.union([Event, Failure, Success])

interface Waiter {
  readonly command: string
  readonly resolve: (value: unknown) => void
  readonly reject: (error: PlatformError) => void
}

/**
 * A QMP connection (QEMU QMP Protocol Specification). A QEMU monitor socket serves one client at a time: while one is
 * connected, others wait for its greeting until their deadline.
 */
export class QmpClient implements QmpConnection, AsyncDisposable {
  readonly #socket: JsonLineSocket
  readonly #waiters = new Map<number, Waiter>()
  readonly #listeners = new Set<QmpListener>()
  readonly #closed = new AbortController()
  readonly #greeted = Promise.withResolvers<void>()
  #nextId = 1

  private constructor(socket: JsonLineSocket) {
    this.#socket = socket
    this.#greeted.promise.catch(() => {})
    socket.listen({ line: (text) => this.#take(text), closed: (error) => this.#end(error) })
  }

  /** Rejects with `qemu.disconnected`, `qemu.timeout` (another client is connected), or the signal's reason. */
  static async connect(path: string, options: QmpCallOptions): Promise<QmpClient> {
    const client = new QmpClient(await JsonLineSocket.open(path, options))
    try {
      const { signal, timeoutMs = COMMAND_TIMEOUT_MS } = options
      await withDeadline(client.#greeted.promise, { signal, timeoutMs, what: `the greeting of ${path}` })
      await client.execute('qmp_capabilities', {}, z.unknown(), options)
    } catch (error) {
      client.#socket.close()
      throw error
    }
    return client
  }

  get closed(): AbortSignal {
    return this.#closed.signal
  }

  async execute<T>(command: string, args: object, answer: z.ZodType<T>, options: QmpCallOptions): Promise<T> {
    options.signal.throwIfAborted()
    this.#closed.signal.throwIfAborted()
    if (this.#waiters.size >= IN_FLIGHT_MAX) {
      throw new PlatformError('qemu.command_failed', `${command} was not sent: ${IN_FLIGHT_MAX} commands are under way`)
    }
    const id = this.#nextId++
    const reply = new Promise<unknown>((resolve, reject) => this.#waiters.set(id, { command, resolve, reject }))
    this.#socket.send({ execute: command, arguments: args, id })
    const { signal, timeoutMs = COMMAND_TIMEOUT_MS } = options
    try {
      const value = answer.safeParse(await withDeadline(reply, { signal, timeoutMs, what: command }))
      if (value.success) return value.data
      throw new PlatformError('source.protocol_violation', `QEMU answered ${command} with ${value.error.message}`)
    } finally {
      this.#waiters.delete(id)
    }
  }

  subscribe(listener: QmpListener): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close()
  }

  #take(text: string): void {
    const message = parseMessage(text)
    if (message === undefined) {
      this.#end(new PlatformError('source.protocol_violation', `QEMU sent what is not QMP: ${text.slice(0, 200)}`))
      this.#socket.close()
    } else if ('QMP' in message) {
      this.#greeted.resolve()
    } else if ('event' in message) {
      const event: QmpEvent = { name: message.event, data: message.data ?? {} }
      for (const listener of this.#listeners) listener.event(event)
    } else {
      this.#answer(message)
    }
  }

  #answer(message: z.infer<typeof Failure> | z.infer<typeof Success>): void {
    const waiter = message.id === undefined ? undefined : this.#waiters.get(message.id)
    if (waiter === undefined) return
    if ('error' in message) {
      const { class: errorClass, desc } = message.error
      const details = { class: errorClass, command: waiter.command }
      waiter.reject(new PlatformError('qemu.command_failed', `QEMU refused ${waiter.command}: ${desc}`, { details }))
    } else {
      waiter.resolve(message.return)
    }
  }

  #end(error: PlatformError): void {
    if (this.#closed.signal.aborted) return
    this.#closed.abort(error)
    this.#greeted.reject(error)
    for (const waiter of this.#waiters.values()) waiter.reject(error)
    this.#listeners.clear()
  }
}

function parseMessage(text: string): z.infer<typeof Message> | z.infer<typeof Greeting> | undefined {
  try {
    return z.union([Greeting, Message]).parse(JSON.parse(text))
  } catch {
    return undefined
  }
}
