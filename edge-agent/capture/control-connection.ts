import { connect } from 'node:net'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../block/block-source.ts'
import {
  Answer,
  ANSWER_MAX_BYTES,
  captureMethods,
  type CaptureMethod,
  Greeting,
  type ParamsOf,
  PROTOCOL_MAX,
  PROTOCOL_MIN,
  type ResultOf,
  type Role,
} from './capture-protocol.ts'
import { fromErrorReport } from './from-error-report.ts'
import { JsonLines } from './json-lines.ts'

const GREETING_TIMEOUT_MS = 10_000

export interface ConnectionCallOptions extends CallOptions {
  /** Notes that come before the answer, not parsed yet. */
  readonly onNote?: (note: unknown) => void
}

interface Waiter {
  readonly onNote: ((note: unknown) => void) | undefined
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** One connection to a capture agent's control socket, from its greeting on. Nothing is dialled again here. */
export class ControlConnection implements AsyncDisposable {
  readonly #lines: JsonLines
  readonly #waiters = new Map<number, Waiter>()
  readonly #closed = new AbortController()
  readonly #greeting = Promise.withResolvers<Greeting>()
  #nextId = 1

  private constructor(socket: ReturnType<typeof connect>) {
    this.#greeting.promise.catch(() => {})
    this.#lines = new JsonLines(socket, {
      lineMaxBytes: ANSWER_MAX_BYTES,
      onValue: (value) => this.#take(value),
      onClosed: (reason) => this.#end(reason),
    })
  }

  /**
   * Rejects with `capture.disconnected` when nobody answers there, `capture.version_unsupported`,
   * `capture.protocol_violation`, or the signal's reason.
   */
  static async open(path: string, { role, signal }: CallOptions & { readonly role: Role }): Promise<ControlConnection> {
    signal.throwIfAborted()
    const connection = new ControlConnection(connect(path))
    try {
      const { protocols } = await connection.#greeted(signal)
      const protocol = Math.min(PROTOCOL_MAX, protocols.max)
      if (protocol < Math.max(PROTOCOL_MIN, protocols.min)) {
        const text = `the capture agent speaks versions ${protocols.min} to ${protocols.max} of the protocol, this edge agent ${PROTOCOL_MIN} to ${PROTOCOL_MAX}`
        throw new PlatformError('capture.version_unsupported', text)
      }
      await connection.call('hello', { protocol, role }, { signal })
      return connection
    } catch (error) {
      await connection[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Aborts when the connection is gone; its reason says why. */
  get closed(): AbortSignal {
    return this.#closed.signal
  }

  /**
   * Rejects with what the capture agent answered, `capture.disconnected` when the connection is lost before its answer,
   * `capture.no_answer`, `capture.protocol_violation`, or the signal's reason.
   */
  async call<M extends CaptureMethod>(
    method: M,
    params: ParamsOf<M>,
    { signal, onNote }: ConnectionCallOptions,
  ): Promise<ResultOf<M>> {
    signal.throwIfAborted()
    this.#closed.signal.throwIfAborted()
    const { result, timeoutMs } = captureMethods[method]
    const id = this.#nextId++
    const answer = new Promise<unknown>((resolve, reject) => this.#waiters.set(id, { resolve, reject, onNote }))
    const late = new AbortController()
    const timer = setTimeout(() => {
      const text = `the capture agent did not answer ${method} within ${timeoutMs} ms`
      late.abort(new PlatformError('capture.no_answer', text, { details: { method, timeoutMs } }))
    }, timeoutMs)
    this.#lines.send({ id, method, params })
    try {
      const value = result.safeParse(await untilAborted(answer, AbortSignal.any([signal, late.signal])))
      // Sound: the value was parsed by this method's own schema.
      if (value.success) return value.data as ResultOf<M>
      throw new PlatformError('capture.protocol_violation', `the answer to ${method}: ${value.error.message}`)
    } finally {
      clearTimeout(timer)
      this.#waiters.delete(id)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lines.close(new PlatformError('capture.disconnected', 'the connection was closed here'))
  }

  async #greeted(signal: AbortSignal): Promise<Greeting> {
    const timeout = AbortSignal.timeout(GREETING_TIMEOUT_MS)
    try {
      return await untilAborted(this.#greeting.promise, AbortSignal.any([signal, timeout]))
    } catch (error) {
      signal.throwIfAborted()
      if (timeout.aborted) throw new PlatformError('capture.disconnected', 'the capture agent does not say who it is')
      throw error
    }
  }

  #take(value: unknown): void {
    const answer = Answer.safeParse(value)
    if (answer.success) {
      const waiter = this.#waiters.get(answer.data.id)
      if ('note' in answer.data) waiter?.onNote?.(answer.data.note)
      else if ('error' in answer.data) waiter?.reject(fromErrorReport(answer.data.error))
      else waiter?.resolve(answer.data.result)
      return
    }
    const greeting = Greeting.safeParse(value)
    if (greeting.success) this.#greeting.resolve(greeting.data)
    else this.#lines.close(new PlatformError('capture.protocol_violation', 'the capture agent sent what is no answer'))
  }

  #end(reason: unknown): void {
    this.#closed.abort(reason)
    this.#greeting.reject(reason)
    for (const { reject } of this.#waiters.values()) reject(reason)
    this.#waiters.clear()
  }
}
