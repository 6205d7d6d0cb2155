import type { Socket } from 'node:net'
import type { ChunkSocket } from './chunk-socket.ts'
import { DATA_BYTES_MAX, type SshTransport } from './ssh-transport.ts'

/** What a peer may send before the socket behind the channel has taken it: what one channel can make this side keep. */
export const WINDOW_BYTES = 4 * 1024 * 1024
/** Room is given back in parts of this size. */
const CREDIT_BYTES = WINDOW_BYTES / 4
/** What the peer's windows may add up to (RFC 4254, 5.2). */
const WINDOW_BYTES_MAX = 2 ** 32 - 1

export interface ChannelPeer {
  readonly channel: number
  readonly windowBytes: number
  readonly packetBytesMax: number
}

/**
 * An open channel joined to a socket: bytes both ways, the end of either half passes, and neither side is read from
 * faster than the other takes. The channel owns the socket.
 */
export class SshChannel {
  readonly #transport: SshTransport
  readonly #peer: ChannelPeer
  readonly #socket: Socket
  readonly #onGone: () => void
  /** Read from the socket, not sent yet: at most what one read gave, as the socket is paused while there is something. */
  #waiting: Buffer | undefined
  #sendWindow: number
  #receiveWindow = WINDOW_BYTES
  #credit = 0
  #socketEnded = false
  #sentEnd = false
  #sentClose = false
  #receivedEnd = false
  #isGone = false

  /** @param onGone called once: both sides have closed the channel, or its connection is gone */
  constructor(transport: SshTransport, peer: ChannelPeer, chunks: ChunkSocket, onGone: () => void) {
    const { socket } = chunks
    this.#transport = transport
    this.#peer = peer
    this.#socket = socket
    this.#onGone = onGone
    this.#sendWindow = peer.windowBytes
    chunks.take = (chunk) => this.#take(chunk)
    socket.on('end', () => {
      this.#socketEnded = true
      this.pump()
    })
    socket.on('error', () => this.close())
    socket.on('close', () => this.close())
    socket.resume()
  }

  /** The number the peer gave to the channel. */
  get peer(): number {
    return this.#peer.channel
  }

  /** Sends what waits, as far as connection and window allow; then the socket is read from again. */
  pump(): void {
    if (this.#waiting !== undefined) this.#waiting = this.#send(this.#waiting)
    if (this.#waiting !== undefined || this.#sentClose) return
    if (this.#socketEnded) this.#sendEnd()
    else if (this.#socket.isPaused()) this.#socket.resume()
  }

  #take(chunk: Buffer): void {
    const rest = this.#waiting === undefined ? this.#send(chunk) : chunk
    if (rest === undefined) return
    this.#socket.pause()
    // The chunk is the socket's: it will read into it again.
    this.#waiting = this.#waiting === undefined ? Buffer.from(rest) : Buffer.concat([this.#waiting, rest])
  }

  /** Returns what could not be sent. */
  #send(chunk: Buffer): Buffer | undefined {
    let rest = chunk
    while (rest.length > 0 && !this.#sentClose) {
      const most = Math.min(this.#sendWindow, this.#peer.packetBytesMax)
      if (most === 0 || !this.#transport.canSend) return rest
      const part = rest.subarray(0, most)
      rest = rest.subarray(part.length)
      this.#sendWindow -= part.length
      this.#transport.sendData(this.#peer.channel, part)
    }
    return undefined
  }

  /** The peer has sent data. Returns false where it had no right to. */
  receive(pieces: readonly Buffer[], bytes: number): boolean {
    if (this.#receivedEnd || bytes > this.#receiveWindow || bytes > DATA_BYTES_MAX) return false
    this.#receiveWindow -= bytes
    const socket = this.#socket
    if (!socket.writable) {
      // Nobody reads it any more; the close that tells so is on its way.
      this.#giveCredit(bytes)
      return true
    }
    socket.cork()
    for (const [index, piece] of pieces.entries()) {
      if (index === pieces.length - 1) socket.write(piece, () => this.#giveCredit(bytes))
      else socket.write(piece)
    }
    socket.uncork()
    return true
  }

  /** The peer gives room. Returns false where that is more than there can be. */
  receiveWindow(bytes: number): boolean {
    if (this.#sendWindow + bytes > WINDOW_BYTES_MAX) return false
    this.#sendWindow += bytes
    this.pump()
    return true
  }

  /** The peer sends no more. */
  receiveEnd(): void {
    if (this.#receivedEnd) return
    this.#receivedEnd = true
    this.#socket.end()
    this.#closeIfEnded()
  }

  /** The peer has closed the channel: what it sent before still reaches the socket. */
  receiveClose(): void {
    this.#sendClose()
    this.#gone()
    const socket = this.#socket
    socket.pause()
    socket.end(() => socket.destroy())
  }

  /** Closes both halves at once; what waits is dropped. */
  close(): void {
    this.#sendClose()
    this.#socket.destroy()
  }

  /** The connection is gone: no message leaves any more. */
  break(): void {
    this.#sentClose = true
    this.#waiting = undefined
    this.#gone()
    this.#socket.destroy()
  }

  #giveCredit(bytes: number): void {
    this.#credit += bytes
    if (this.#credit < CREDIT_BYTES || this.#receivedEnd || this.#sentClose) return
    const credit = this.#credit
    this.#credit = 0
    this.#receiveWindow += credit
    this.#transport.protocol.channelWindowAdjust(this.#peer.channel, credit)
  }

  #sendEnd(): void {
    if (this.#sentEnd || this.#sentClose) return
    this.#sentEnd = true
    this.#transport.protocol.channelEOF(this.#peer.channel)
    this.#closeIfEnded()
  }

  #closeIfEnded(): void {
    if (this.#sentEnd && this.#receivedEnd) this.#sendClose()
  }

  #sendClose(): void {
    if (this.#sentClose) return
    this.#sentClose = true
    this.#waiting = undefined
    this.#transport.protocol.channelClose(this.#peer.channel)
  }

  #gone(): void {
    if (this.#isGone) return
    this.#isGone = true
    this.#onGone()
  }
}
