import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'
import { NBD_CMD_DISC, NBD_CMD_FLUSH, NBD_CMD_READ } from '../wire/nbd-constants.ts'
import { protocolViolation } from '../wire/nbd-errors.ts'
import { encodeRequest, type RequestStyle } from '../wire/requests.ts'
import { AbortListeners } from './abort-listeners.ts'
import { type NbdSession, performHandshake } from './handshake.ts'
import { type InFlightOptions, InFlightRequest, type NbdAnswer, type NbdRequest } from './in-flight-request.ts'
import { type ChannelUser, withNbdChannel } from './nbd-channel.ts'
import type { NbdRequester } from './nbd-requester.ts'
import { nameOfAddress } from './nbd-socket.ts'
import { ReplyParser } from './reply-parser.ts'
import { expectAllowed } from './request-rules.ts'

/** QEMU's server works on so many requests of a connection at once; what is sent beyond that only waits there. */
export const IN_FLIGHT_MAX_DEFAULT = 16
/** Callers bound their own concurrency; more than this is a mistake of theirs. */
const WAITING_MAX = 65_536
const CLOSE_TIMEOUT_MS = 2000
/** A reader that went away while its data arrives waits at most so long for the next piece. */
const ABANDONED_READ_PATIENCE_MS = 500
/** A writer that went away waits at most such a part of the idle timeout until the socket has passed on its bytes. */
const ABANDONED_WRITE_PATIENCE = 1 / 12
/** What a connection that was given up still receives. */
const NOWHERE = Buffer.alloc(64 * 1024)
/** A flush may rightly take as many times the idle timeout: it ends when all that the server held back is on the disk. */
const FLUSH_PATIENCE = 10

export interface NbdConnectOptions {
  readonly signal: AbortSignal
  /** For connecting and the handshake together. Default 15 s. */
  readonly connectTimeoutMs?: number
  /**
   * The server is given up when requests are in flight and no byte arrives for so long, ten times that while it flushes;
   * or when it does not take the bytes of an aborted write in a twelfth of it. Default 60 s.
   */
  readonly idleTimeoutMs?: number
  /** Called once when the connection fails or is closed, before its requests are rejected. */
  readonly onLost?: (error: PlatformError) => void
}

/**
 * One connection to an NBD export in transmission. Requests of any number of callers are pipelined and may be answered
 * in any order. It does not reconnect: when it is lost, everything in flight and all that comes later rejects with
 * `nbd.disconnected`, `nbd.timeout` or `nbd.protocol_violation`.
 */
export class NbdConnection implements ChannelUser, NbdRequester {
  readonly session: NbdSession
  readonly #name: string
  readonly #socket: Socket
  readonly #closed: Promise<void>
  readonly #parser: ReplyParser
  readonly #requestStyle: RequestStyle
  readonly #inFlight = new Map<number, InFlightRequest>()
  readonly #waiting = new Set<InFlightRequest>()
  readonly #requestOptions: InFlightOptions
  readonly #inFlightMax: number
  readonly #onLost: ((error: PlatformError) => void) | undefined
  readonly #idleTimeoutMs: number
  readonly #watchdog: NodeJS.Timeout
  #lastCookie = 0
  #isCorked = false
  /** Idle timeouts in a row that passed without a byte. */
  #idlePeriods = 0
  #failure: PlatformError | undefined
  /** Being disposed; resolves when nothing is in flight any more. */
  #closing: PromiseWithResolvers<void> | undefined

  constructor(parts: {
    name: string
    socket: Socket
    session: NbdSession
    closed: Promise<void>
    inFlightMax: number
    idleTimeoutMs: number
    onLost: ((error: PlatformError) => void) | undefined
  }) {
    this.session = parts.session
    this.#name = parts.name
    this.#socket = parts.socket
    this.#closed = parts.closed
    this.#requestOptions = {
      replyStyle: parts.session.replyStyle,
      contextIds: new Set(parts.session.contextIds.values()),
      callers: new AbortListeners((request) => this.#abandon(request)),
    }
    this.#inFlightMax = parts.inFlightMax
    this.#onLost = parts.onLost
    this.#idleTimeoutMs = parts.idleTimeoutMs
    this.#requestStyle = parts.session.replyStyle === 'extended' ? 'extended' : 'compact'
    this.#parser = new ReplyParser({
      replyStyle: parts.session.replyStyle,
      find: (cookie) => this.#inFlight.get(cookie),
      onDone: (request) => this.#complete(request.cookie),
    })
    this.#watchdog = setTimeout(() => this.#onIdle(), parts.idleTimeoutMs).unref()
  }

  /**
   * Sends one request and resolves with its reply. What the server did not offer or has no room for is not sent
   * (`request-rules.ts`). Rejects with `nbd.*`, `input.invalid` or the signal's reason; the caller's buffers are its own
   * again then.
   */
  request(request: NbdRequest): Promise<NbdAnswer> {
    try {
      return this.#begin(request).answer
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #begin(request: NbdRequest): InFlightRequest {
    request.signal.throwIfAborted()
    if (this.#failure !== undefined) throw this.#failure
    if (this.#closing !== undefined) throw this.#closedError()
    expectAllowed(this.session, request)
    assert(this.#waiting.size < WAITING_MAX, 'too many NBD requests at once')
    assert(request.payload === undefined || request.payload.length === request.lengthBytes)
    assert(request.into === undefined || request.into.length === request.lengthBytes)
    this.#lastCookie += 1
    const inFlight = new InFlightRequest(this.#lastCookie, request, this.#requestOptions)
    if (this.#inFlight.size < this.#inFlightMax) this.#send(inFlight)
    else this.#waiting.add(inFlight)
    return inFlight
  }

  /**
   * Ends the connection in order; requests still in flight reject with `nbd.disconnected`, those whose buffers the socket
   * uses just now when that is over, within two seconds.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    const closing = (this.#closing ??= Promise.withResolvers<void>())
    const timer = setTimeout(() => {
      closing.resolve()
      this.#socket.destroy()
    }, CLOSE_TIMEOUT_MS)
    const error = this.#closedError()
    for (const request of [...this.#waiting, ...this.#inFlight.values()]) request.dismiss(error)
    this.#waiting.clear()
    if (this.#inFlight.size > 0 && this.#failure === undefined) await closing.promise
    if (this.#failure === undefined) this.#disconnect()
    await this.#closed
    clearTimeout(timer)
  }

  /** Where the socket receives into next. Callers' buffers are among it until their requests are answered. */
  room(): Uint8Array {
    return this.#failure === undefined ? this.#parser.room() : NOWHERE
  }

  /** The socket received so much into what `room` returned last. */
  filled(lengthBytes: number): void {
    this.#receive(() => this.#parser.filled(lengthBytes))
  }

  /** What the socket received elsewhere. @param piece only valid during the call */
  consume(piece: Buffer): void {
    this.#receive(() => this.#parser.consume(piece))
  }

  #receive(parse: () => void): void {
    if (this.#failure !== undefined) return
    this.#idlePeriods = 0
    this.#watchdog.refresh()
    try {
      parse()
    } catch (error) {
      if (!(error instanceof PlatformError)) throw error
      this.lost(error)
    }
  }

  /** Gives the connection up: everybody is rejected, the socket destroyed. */
  lost(error: PlatformError): void {
    this.#rejectAll(error)
    this.#socket.destroy()
  }

  /** Nothing is in flight any more: some servers fall over when a client leaves before it has its replies. */
  #disconnect(): void {
    const header = { command: NBD_CMD_DISC, commandFlags: 0, cookie: 0, offsetBytes: 0, lengthBytes: 0 } as const
    this.#socket.end(encodeRequest(header, this.#requestStyle))
    this.#rejectAll(this.#closedError())
  }

  #closedError(): PlatformError {
    return new PlatformError('nbd.disconnected', `the connection to ${this.#name} was closed`)
  }

  #rejectAll(error: PlatformError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#closing?.resolve()
    clearTimeout(this.#watchdog)
    const everybody = [...this.#inFlight.values(), ...this.#waiting]
    this.#inFlight.clear()
    this.#waiting.clear()
    this.#onLost?.(error)
    for (const request of everybody) request.end(error)
  }

  #send(request: InFlightRequest): void {
    if (this.#inFlight.size === 0) {
      this.#idlePeriods = 0
      this.#watchdog.refresh()
    }
    this.#inFlight.set(request.cookie, request)
    this.#cork()
    this.#socket.write(encodeRequest(request, this.#requestStyle))
    const { payload } = request
    if (payload === undefined) return
    request.holdBuffers()
    this.#socket.write(payload, () => request.releaseBuffers())
  }

  /** All that is sent in one turn of the event loop leaves in one system call. */
  #cork(): void {
    if (this.#isCorked) return
    this.#isCorked = true
    this.#socket.cork()
    process.nextTick(() => {
      this.#isCorked = false
      this.#socket.uncork()
    })
  }

  #complete(cookie: number): void {
    const request = this.#inFlight.get(cookie)
    assert(request !== undefined)
    this.#inFlight.delete(cookie)
    request.finish()
    if (this.#inFlight.size === 0) this.#closing?.resolve()
    for (const next of this.#waiting) {
      this.#waiting.delete(next)
      this.#send(next)
      break
    }
  }

  /**
   * Its cookie stays taken until the server answered, so that the answer is not one to an unknown cookie. Where the
   * socket uses the caller's buffer just now, because its data arrives or leaves, the caller is answered as soon as that
   * is over. Where it does not get over the connection is given up: nothing else could pass it that way either, and only
   * that takes the buffer from the socket.
   */
  #abandon(request: InFlightRequest): void {
    this.#waiting.delete(request)
    request.abandon()
    if (!request.holdsBuffers) return
    const isRead = request.command === NBD_CMD_READ
    const patienceMs = isRead ? ABANDONED_READ_PATIENCE_MS : this.#idleTimeoutMs * ABANDONED_WRITE_PATIENCE
    setTimeout(() => {
      if (request.isOver || this.#failure !== undefined) return
      const message = `NBD server ${this.#name} stopped in the middle of a request whose caller has left`
      this.lost(new PlatformError('nbd.disconnected', message))
    }, patienceMs).unref()
  }

  #onIdle(): void {
    if (this.#inFlight.size === 0) return
    this.#idlePeriods += 1
    const isFlushing = [...this.#inFlight.values()].some(({ command }) => command === NBD_CMD_FLUSH)
    if (isFlushing && this.#idlePeriods < FLUSH_PATIENCE) {
      this.#watchdog.refresh()
      return
    }
    const waitedMs = this.#idleTimeoutMs * this.#idlePeriods
    const details = { inFlight: this.#inFlight.size, waitedMs }
    const message = `NBD server ${this.#name} did not answer for ${waitedMs / 1000} s`
    this.lost(new PlatformError('nbd.timeout', message, { details }))
  }
}

/**
 * Connects and negotiates. Rejects with `nbd.*` or the signal's reason.
 */
export async function openNbdConnection(endpoint: NbdEndpoint, options: NbdConnectOptions): Promise<NbdConnection> {
  const { idleTimeoutMs = 60_000, onLost } = options
  const { requestsInFlightMax: inFlightMax = IN_FLIGHT_MAX_DEFAULT } = endpoint
  const name = `${nameOfAddress(endpoint.address)} export "${endpoint.exportName}"`
  return await withNbdChannel({ address: endpoint.address, name }, options, async (channel, call) => {
    const { handshake, closed } = channel
    const session = await performHandshake(handshake, endpoint, async (tls) => await channel.upgrade(tls, call))
    if (handshake.heldBytes > 0) throw protocolViolation('bytes follow the handshake that nobody asked for')
    const { socket } = channel
    const connection = new NbdConnection({ name, socket, session, closed, inFlightMax, idleTimeoutMs, onLost })
    channel.attach(connection)
    return connection
  })
}
