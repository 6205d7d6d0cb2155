import type { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { StatusRun } from '../wire/block-status.ts'
import { NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_DF, NBD_CMD_READ, type NbdCommand } from '../wire/nbd-constants.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import type { AbortListeners } from './abort-listeners.ts'
import type { PendingRequest } from './pending-request.ts'
import { ReadCoverage } from './read-coverage.ts'

export interface NbdRequest {
  readonly command: NbdCommand
  readonly commandFlags?: number
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** READ: where the data goes, `lengthBytes` long. */
  readonly into?: Uint8Array
  /** WRITE: the data, `lengthBytes` long. */
  readonly payload?: Uint8Array
  readonly signal: AbortSignal
}

/** Block status by context id; empty for all other commands. */
export type NbdAnswer = ReadonlyMap<number, readonly StatusRun[]>

const NO_CONTEXTS: NbdAnswer = new Map()

/** What the requests of one connection have in common. */
export interface InFlightOptions {
  readonly replyStyle: ReplyStyle
  readonly contextIds: ReadonlySet<number>
  /** Told of each request whose caller goes away, before it is over. */
  readonly callers: AbortListeners<InFlightRequest>
}

/**
 * One request from its submission until its caller is answered. The caller may go away earlier, by its signal: the
 * reply is still awaited then, but touches no memory of the caller once that was answered.
 */
export class InFlightRequest implements PendingRequest {
  readonly cookie: number
  readonly command: NbdCommand
  readonly commandFlags: number
  readonly offsetBytes: number
  readonly lengthBytes: number
  readonly payload: Uint8Array | undefined
  readonly coverage: ReadCoverage | undefined
  readonly contexts: Map<number, readonly StatusRun[]> | undefined
  readonly contextIds: ReadonlySet<number>
  readonly answer: Promise<NbdAnswer>
  into: Uint8Array | undefined
  failure: PlatformError | undefined
  errorChunks = 0
  readonly #signal: AbortSignal
  readonly #resolve: (answer: NbdAnswer) => void
  readonly #reject: (error: unknown) => void
  readonly #callers: AbortListeners<InFlightRequest>
  #buffersHeld = false
  #isFinished = false
  /** What the caller is answered once nobody uses its buffers. */
  #dismissal: PlatformError | undefined
  #isOver = false

  constructor(cookie: number, request: NbdRequest, options: InFlightOptions) {
    this.cookie = cookie
    this.command = request.command
    this.commandFlags = request.commandFlags ?? 0
    this.offsetBytes = request.offsetBytes
    this.lengthBytes = request.lengthBytes
    this.into = request.into
    this.payload = request.payload
    const hasChunks = request.command === NBD_CMD_READ && options.replyStyle !== 'simple'
    const chunksMax = (this.commandFlags & NBD_CMD_FLAG_DF) === 0 ? Infinity : 1
    this.coverage = hasChunks ? new ReadCoverage(request.lengthBytes, chunksMax) : undefined
    this.contextIds = options.contextIds
    this.contexts = request.command === NBD_CMD_BLOCK_STATUS ? new Map() : undefined
    const { promise, resolve, reject } = Promise.withResolvers<NbdAnswer>()
    this.answer = promise
    this.#resolve = resolve
    this.#reject = reject
    this.#signal = request.signal
    this.#callers = options.callers
    options.callers.add(request.signal, this)
  }

  get isAbandoned(): boolean {
    return this.#signal.aborted || this.#dismissal !== undefined
  }

  /** The caller was answered. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** The socket uses them: the caller is not answered before `releaseBuffers`. */
  get holdsBuffers(): boolean {
    return this.#buffersHeld
  }

  /** The caller goes away: it is answered as soon as nobody uses its buffers. */
  abandon(): void {
    if (!this.#buffersHeld) this.end(this.#signal.reason)
  }

  /** The caller is sent away: it is answered with `error` as soon as nobody uses its buffers. */
  dismiss(error: PlatformError): void {
    if (this.#buffersHeld) this.#dismissal = error
    else this.end(error)
  }

  /** The server answered: so is the caller, as soon as nobody uses its buffers. A server may answer before it took them. */
  finish(): void {
    if (this.#buffersHeld) this.#isFinished = true
    else this.end()
  }

  holdBuffers(): void {
    this.#buffersHeld = true
  }

  releaseBuffers(): void {
    this.#buffersHeld = false
    if (this.#isFinished) this.end()
    else if (this.isAbandoned) this.end(this.#dismissal ?? this.#signal.reason)
  }

  /** Answers the caller, once; without an error by what arrived. */
  end(error?: unknown): void {
    if (this.#isOver) return
    this.#isOver = true
    this.into = undefined
    this.#callers.delete(this.#signal, this)
    const failure = error ?? this.failure
    if (failure === undefined) this.#resolve(this.contexts ?? NO_CONTEXTS)
    else this.#reject(failure)
  }
}
