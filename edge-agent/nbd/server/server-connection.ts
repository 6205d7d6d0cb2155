import type { Socket } from 'node:net'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { clientViolation } from '../wire/nbd-errors.ts'
import type { BufferPool } from './buffer-pool.ts'
import { ClientSocket } from './client-socket.ts'
import { HandshakeInput } from './handshake-input.ts'
import type { NegotiatedExport, ServedExport } from './nbd-export.ts'
import { haggle, type HandshakeOffer } from './option-haggling.ts'
import { type NbdServerCertificate, startTls } from './start-tls.ts'
import { Transmission } from './transmission.ts'

/** A client in the handshake hears that the server ends if it asks for something in this time. */
const HANDSHAKE_GRACE_MS = 500
/** How long a client may take to close its side after the server closed its own. */
const LINGER_MS = 2000

export interface ConnectionLimits {
  readonly requestsMax: number
  readonly handshakeTimeoutMs: number
  readonly stallTimeoutMs: number
  /** Absent: a client may do nothing for as long as it wants. */
  readonly idleTimeoutMs?: number
}

export interface ConnectionOptions {
  /** Just accepted, paused, allowing half-open connections. */
  readonly socket: Socket
  readonly offer: Omit<HandshakeOffer, 'isEnding'>
  readonly certificate: NbdServerCertificate | undefined
  readonly pool: BufferPool
  readonly limits: ConnectionLimits
}

/** One client from its greeting to its end. */
export class ServerConnection {
  /** Resolves when the socket is gone and no request touches an export any more. Never rejects. */
  readonly over: Promise<void>
  readonly #options: ConnectionOptions
  readonly #socket: ClientSocket
  readonly #input: HandshakeInput
  readonly #ended = new AbortController()
  #served: ServedExport | undefined
  #transmission: Transmission | undefined
  #isDraining = false
  #lastError: unknown

  constructor(options: ConnectionOptions) {
    this.#options = options
    const flow = { pause: () => this.#socket.pause(), resume: () => this.#socket.resume() }
    this.#input = new HandshakeInput(flow)
    const direct = options.certificate === undefined
    this.#socket = new ClientSocket(options.socket, this.#input, { direct })
    void this.#socket.closed.then(() => this.#abandon(disconnected('the client is gone')))
    this.over = this.#run()
  }

  /** The export it transmits; undefined while it haggles. */
  get served(): ServedExport | undefined {
    return this.#served
  }

  /** Why it ended where it did not end in order: `nbd.*`, or what nobody expected. */
  get lastError(): unknown {
    return this.#lastError
  }

  /** Answers what was begun, refuses what comes; the connection ends when nothing is left to answer. */
  drain(): void {
    if (this.#isDraining) return
    this.#isDraining = true
    this.#transmission?.drain()
    if (this.#transmission !== undefined) return
    const timer = setTimeout(() => {
      if (this.#transmission === undefined) this.destroy(disconnected('the server is ending'))
    }, HANDSHAKE_GRACE_MS)
    void this.#socket.closed.then(() => clearTimeout(timer))
  }

  /** Ends it at once: work under way is given up. */
  destroy(reason: PlatformError): void {
    this.#lastError ??= reason
    this.#abandon(reason)
    this.#socket.destroy()
  }

  async #run(): Promise<void> {
    try {
      const negotiated = await this.#handshake()
      if (negotiated === undefined) this.#socket.end()
      else await this.#transmit(negotiated)
    } catch (error) {
      this.#lastError ??= error
      this.#socket.destroy()
    }
    const linger = setTimeout(() => this.#socket.destroy(), LINGER_MS)
    await this.#socket.closed
    clearTimeout(linger)
  }

  async #handshake(): Promise<NegotiatedExport | undefined> {
    const { offer, limits, certificate } = this.#options
    const timeoutMs = limits.handshakeTimeoutMs
    const late = new PlatformError('nbd.timeout', `a client did not finish its handshake in ${timeoutMs / 1000} s`)
    const timer = setTimeout(() => this.destroy(late), timeoutMs)
    const isEnding = (): boolean => this.#isDraining
    const client = {
      receive: async (lengthBytes: number) => await this.#input.receive(lengthBytes),
      skip: (lengthBytes: number) => this.#input.skip(lengthBytes),
      send: async (bytes: Buffer) => await this.#socket.send(bytes),
      ...(certificate === undefined ? {} : { startTls: async () => await this.#secure(certificate) }),
    }
    try {
      return await haggle(client, {
        find: (name) => offer.find(name),
        list: () => offer.list(),
        get isEnding() {
          return isEnding()
        },
      })
    } finally {
      clearTimeout(timer)
    }
  }

  async #secure(certificate: NbdServerCertificate): Promise<void> {
    // What came before TLS would be taken for something said inside it.
    if (this.#input.takeRest().length > 0) throw clientViolation('bytes between NBD_OPT_STARTTLS and its answer')
    const { signal } = this.#ended
    await this.#socket.upgrade(async (socket) => await startTls(socket, certificate, { signal }))
  }

  async #transmit(negotiated: NegotiatedExport): Promise<void> {
    const { pool, limits } = this.#options
    const { signal } = this.#ended
    const socket = this.#socket
    const transmission = new Transmission({ socket, negotiated, pool, requestsMax: limits.requestsMax, signal })
    this.#transmission = transmission
    this.#served = negotiated.served
    this.#watch(transmission)
    transmission.onBytes(this.#input.takeRest())
    if (this.#isDraining || negotiated.served.isWithdrawn) transmission.drain()
    await transmission.finished
  }

  /** A client may rest, but not in the middle of something, and not for longer than it is told. */
  #watch(transmission: Transmission): void {
    const { stallTimeoutMs, idleTimeoutMs } = this.#options.limits
    const giveUp = (what: string, waitedMs: number): void => {
      this.destroy(new PlatformError('nbd.timeout', `a client ${what} for ${waitedMs / 1000} s`))
    }
    this.#socket.watchStalls(stallTimeoutMs, () => {
      if (transmission.isWaitingForClient) giveUp('left something half transferred', stallTimeoutMs)
    })
    if (idleTimeoutMs === undefined) {
      this.#socket.giveTo(transmission)
      return
    }
    const idle = setTimeout(() => {
      if (transmission.isIdle) giveUp('asked for nothing', idleTimeoutMs)
      else idle.refresh()
    }, idleTimeoutMs)
    void this.#socket.closed.then(() => clearTimeout(idle))
    this.#socket.giveTo({
      room: () => transmission.room(),
      onFilled: (lengthBytes) => transmission.onFilled(lengthBytes),
      onBytes: (piece) => {
        idle.refresh()
        transmission.onBytes(piece)
      },
      onEnd: () => transmission.onEnd(),
    })
  }

  #abandon(reason: PlatformError): void {
    this.#input.fail(reason)
    this.#ended.abort(reason)
  }
}

function disconnected(why: string): PlatformError {
  return new PlatformError('nbd.disconnected', why)
}
