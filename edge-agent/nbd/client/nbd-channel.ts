import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdAddress, NbdTls } from '../../block/block-endpoint.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { encodeOption } from '../wire/handshake-options.ts'
import { NBD_OPT_ABORT } from '../wire/nbd-constants.ts'
import { HandshakeBuffer } from './handshake-buffer.ts'
import { connectNbdSocket, type SocketEvents } from './nbd-socket.ts'
import { connectionLoss, handshakeLoss, startTls } from './start-tls.ts'

const CONNECT_TIMEOUT_MS = 15_000
/** Replies to options are short. */
const HANDSHAKE_RECEIVE_BYTES = 16 * 1024
/** A server that was told goodbye closes; one that does not is not waited for longer. */
const LEAVE_TIMEOUT_MS = 2000
/** After these nothing more is said to the server. */
const ABRUPT: ReadonlySet<string> = new Set(['nbd.protocol_violation', 'nbd.timeout'])

export interface ChannelTarget {
  readonly address: NbdAddress
  /** For messages. */
  readonly name: string
}

export interface ChannelOptions extends CallOptions {
  /** For connecting and all of the work together. Default 15 s. */
  readonly connectTimeoutMs?: number | undefined
}

/** Who takes over a connection after the handshake. */
export interface ChannelUser {
  /** Where the socket receives into next, at least one byte; it writes there until it asks again. */
  room(): Uint8Array
  /** The socket received so much into what `room` returned last. */
  filled(lengthBytes: number): void
  /** What was received elsewhere. @param piece only valid during the call */
  consume(piece: Buffer): void
  /** Once, when the connection is gone. */
  lost(error: PlatformError): void
}

/** One connection to a server before transmission, and the way over to it. */
export class NbdChannel {
  /** What is received and sent before transmission. */
  readonly handshake: HandshakeBuffer
  /** Resolves when the connection is gone. */
  readonly closed: Promise<void>
  readonly #target: ChannelTarget
  readonly #scratch = Buffer.allocUnsafeSlow(HANDSHAKE_RECEIVE_BYTES)
  readonly #onGone: () => void
  #socket: Socket | undefined
  #user: ChannelUser | undefined
  /** The socket below TLS tells nobody of its end: that above it knows more. */
  #isSecure = false
  /** TLS was set up and nothing has arrived since. */
  #isFresh = false

  constructor(target: ChannelTarget) {
    this.#target = target
    this.handshake = new HandshakeBuffer((bytes) => this.#socket?.write(bytes))
    const { promise, resolve } = Promise.withResolvers<void>()
    this.closed = promise
    this.#onGone = resolve
  }

  /** The one to write to. */
  get socket(): Socket {
    assert(this.#socket !== undefined, 'the channel is connected')
    return this.#socket
  }

  async connect({ signal }: CallOptions): Promise<void> {
    const events: SocketEvents = {
      nextBuffer: () => this.#user?.room() ?? this.#scratch,
      onReceived: (buffer, lengthBytes) => {
        if (buffer === this.#scratch) this.#consume(this.#scratch.subarray(0, lengthBytes))
        else this.#user?.filled(lengthBytes)
      },
      onClosed: (cause) => {
        if (!this.#isSecure) this.#lost(cause)
      },
    }
    this.#socket = await connectNbdSocket(this.#target.address, events, { signal })
  }

  /** Puts TLS under the channel. Rejects as `startTls` does. */
  async upgrade(tls: NbdTls, { signal }: CallOptions): Promise<void> {
    const { address } = this.#target
    this.#isSecure = true
    this.#socket = await startTls(this.socket, {
      address,
      tls,
      onPiece: (piece) => {
        this.#isFresh = false
        this.#consume(piece)
      },
      onClosed: (cause) => this.#lost(cause),
      signal,
    })
    this.#isFresh = true
  }

  /** What arrives, and the end, go to the user from now on. */
  attach(user: ChannelUser): void {
    this.#user = user
  }

  /** Says goodbye as the protocol wants it before transmission, and waits for nothing. */
  leave(): void {
    const { socket } = this
    socket.end(encodeOption(NBD_OPT_ABORT))
    const timer = setTimeout(() => socket.destroy(), LEAVE_TIMEOUT_MS)
    socket.once('close', () => clearTimeout(timer))
  }

  /** After a failure: in order where the two only do not agree, else at once. */
  giveUp(error: unknown): void {
    const isOrderly = isPlatformError(error) && !ABRUPT.has(error.code)
    if (isOrderly && this.#socket?.writable === true) this.leave()
    else this.#socket?.destroy()
  }

  #consume(piece: Buffer): void {
    if (this.#user === undefined) this.handshake.push(piece)
    else this.#user.consume(piece)
  }

  #lost(cause: Error | undefined): void {
    const { name } = this.#target
    if (this.#user === undefined) this.handshake.fail(handshakeLoss(name, cause, this.#isFresh))
    else this.#user.lost(connectionLoss(name, cause))
    this.#onGone()
  }
}

/**
 * Connects and does the work that comes before transmission, all within the time given. The channel belongs to the work's
 * result when it resolves; when it rejects, the connection is ended.
 * Rejects with what the work rejects with, `nbd.disconnected`, `nbd.timeout` or the signal's reason.
 */
export async function withNbdChannel<T>(
  target: ChannelTarget,
  { signal: outer, connectTimeoutMs = CONNECT_TIMEOUT_MS }: ChannelOptions,
  work: (channel: NbdChannel, call: CallOptions) => Promise<T>,
): Promise<T> {
  const channel = new NbdChannel(target)
  const late = new AbortController()
  const timer = setTimeout(() => {
    const message = `NBD server ${target.name} did not answer in ${connectTimeoutMs / 1000} s`
    late.abort(new PlatformError('nbd.timeout', message))
  }, connectTimeoutMs)
  const signal = AbortSignal.any([outer, late.signal])
  const onAbort = (): void => channel.handshake.fail(signal.reason)
  signal.addEventListener('abort', onAbort)
  try {
    await channel.connect({ signal })
    return await work(channel, { signal })
  } catch (error) {
    channel.giveUp(error)
    throw error
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  }
}
