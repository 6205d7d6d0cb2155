import type { Socket } from 'node:net'
import { type DirectReads, openDirectSocket } from '@sendense/shared/runtime/direct-socket.ts'

/** Received into, where the consumer has no room of its own: enough for many requests, little of a payload. */
const SCRATCH_BYTES = 16 * 1024

/** After so long without a byte TCP asks whether the client's machine is still there: a client may rest for days. */
const KEEP_ALIVE_MS = 60_000

/** Takes what a client sends. */
export interface ByteConsumer {
  /**
   * Where the next bytes may go without being copied, not empty. Undefined: nowhere special. It may be given and never
   * used; what arrives in it is told by `onFilled`.
   */
  room?(): Buffer | undefined
  /** The first bytes of the room last given have arrived. */
  onFilled?(lengthBytes: number): void
  /** @param piece the consumer's until the call returns or, where the client was paused meanwhile, until it is resumed */
  onBytes(piece: Buffer): void
  /** The client sends no more; it may still listen. */
  onEnd(): void
}

const NOBODY: ByteConsumer = { onBytes: () => undefined, onEnd: () => undefined }

/**
 * The server's end of a connection: what arrives goes to one consumer, what is sent in one turn of the event loop leaves
 * in one system call.
 */
export class ClientSocket {
  /** Resolves when the connection is gone, however. */
  readonly closed: Promise<void>
  #socket: Socket
  #consumer: ByteConsumer
  #isCorked = false
  #isPaused = false
  readonly #onData = (piece: Buffer): void => this.#consumer.onBytes(piece)
  readonly #onEnd = (): void => this.#consumer.onEnd()

  /**
   * @param accepted paused, and half-open allowed: replies reach a client that sends no more
   * @param options.direct receive without copies, where that can be had; `upgrade` cannot be called then
   */
  constructor(accepted: Socket, consumer: ByteConsumer, { direct }: { readonly direct: boolean }) {
    this.#consumer = consumer
    const socket = (direct ? openDirectSocket(accepted, this.#directReads()) : undefined) ?? accepted
    this.#socket = socket
    const closed = Promise.withResolvers<void>()
    this.closed = closed.promise
    socket.on('close', () => closed.resolve())
    socket.setNoDelay(true)
    socket.setKeepAlive(true, KEEP_ALIVE_MS)
    this.#attach(socket)
    socket.resume()
  }

  /** Nothing is left that was written and has not gone to the system. */
  get isAllSent(): boolean {
    return this.#socket.writableLength === 0
  }

  get isGone(): boolean {
    return this.#socket.destroyed
  }

  /** Bytes go to somebody else from now on. */
  giveTo(consumer: ByteConsumer): void {
    this.#consumer = consumer
  }

  /**
   * The same connection inside TLS from now on.
   * @param upgrade turns the socket, of which nothing is read any more, into the secured one
   */
  async upgrade(upgrade: (socket: Socket) => Promise<Socket>): Promise<void> {
    const plain = this.#socket
    plain.off('data', this.#onData)
    plain.off('end', this.#onEnd)
    plain.pause()
    const secured = await upgrade(plain)
    this.#socket = secured
    secured.on('close', () => plain.destroy())
    this.#attach(secured)
  }

  /** Calls back when nothing came and nothing went for so long while something could have; again after each such time. */
  watchStalls(stallTimeoutMs: number, onStalled: () => void): void {
    const socket = this.#socket
    socket.on('timeout', () => {
      onStalled()
      socket.setTimeout(stallTimeoutMs)
    })
    socket.setTimeout(stallTimeoutMs)
  }

  /** The client is not heard until `resume`. */
  pause(): void {
    if (this.#isPaused) return
    this.#isPaused = true
    this.#socket.pause()
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#socket.resume()
  }

  /**
   * Sends the pieces in order.
   * @param onSent called once: the system has them, or never will; the buffers are the caller's again
   */
  write(pieces: readonly Buffer[], onSent: () => void): void {
    this.#cork()
    for (const [index, piece] of pieces.entries()) {
      if (index === pieces.length - 1) this.#socket.write(piece, () => onSent())
      else this.#socket.write(piece)
    }
  }

  /** Resolves when all of it went to the system; also when the connection is lost meanwhile. */
  async send(piece: Buffer): Promise<void> {
    await new Promise<void>((resolve) => this.write([piece], resolve))
  }

  /** Ends the connection in order once all is sent; what still arrives is dropped. */
  end(): void {
    this.#consumer = NOBODY
    this.#socket.end()
    this.resume()
  }

  /** Ends it at once. */
  destroy(): void {
    this.#socket.destroy()
  }

  #directReads(): DirectReads {
    const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES)
    let room: Buffer | undefined
    return {
      room: () => {
        room = this.#consumer.room?.()
        return room ?? scratch
      },
      onFilled: (lengthBytes) => {
        if (room === undefined) this.#consumer.onBytes(scratch.subarray(0, lengthBytes))
        else this.#consumer.onFilled?.(lengthBytes)
      },
    }
  }

  #attach(socket: Socket): void {
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    // Whatever it is, 'close' follows.
    socket.on('error', () => socket.destroy())
  }

  #cork(): void {
    if (this.#isCorked) return
    this.#isCorked = true
    const socket = this.#socket
    socket.cork()
    process.nextTick(() => {
      this.#isCorked = false
      socket.uncork()
    })
  }
}
