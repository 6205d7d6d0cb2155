import type { ChunkSocket } from './chunk-socket.ts'
import { type ChannelPeer, SshChannel } from './ssh-channel.ts'
import { DATA_BYTES_MAX, type SshTransport } from './ssh-transport.ts'
import type { Ssh2MessageHandlers } from './ssh2-protocol.ts'

/** A peer that wants its data in smaller packets only wants to keep this side busy. */
const PACKET_BYTES_MIN = 1024

/** The channels of one connection: at most `channelsMax`, by the numbers this side gave them. */
export class ChannelTable {
  readonly #channelsMax: number
  readonly #channels = new Map<number, SshChannel>()
  /** Numbers given away whose channel is not open yet. */
  readonly #opening = new Set<number>()
  readonly #onSize: () => void
  #lastNumber = -1

  /** @param onSize `size` has changed */
  constructor(channelsMax: number, onSize: () => void) {
    this.#channelsMax = channelsMax
    this.#onSize = onSize
  }

  /** Channels that are open or being opened. */
  get size(): number {
    return this.#channels.size + this.#opening.size
  }

  /** A number for a new channel, or undefined where there are as many as there may be. */
  reserve(): number | undefined {
    if (this.size >= this.#channelsMax) return undefined
    do this.#lastNumber = (this.#lastNumber + 1) % 2 ** 31
    while (this.#channels.has(this.#lastNumber) || this.#opening.has(this.#lastNumber))
    this.#opening.add(this.#lastNumber)
    this.#onSize()
    return this.#lastNumber
  }

  /** The number the peer gave to that channel, where it is open. */
  peerOf(number: number): number | undefined {
    return this.#channels.get(number)?.peer
  }

  /** The channel with that number will not be opened. */
  release(number: number): void {
    if (this.#opening.delete(number)) this.#onSize()
  }

  /** Joins a socket to the channel that `number` was reserved for. */
  open(number: number, transport: SshTransport, peer: ChannelPeer, chunks: ChunkSocket): void {
    this.#opening.delete(number)
    const packetBytesMax = Math.min(peer.packetBytesMax, DATA_BYTES_MAX)
    const channel = new SshChannel(transport, { ...peer, packetBytesMax }, chunks, () => {
      if (this.#channels.delete(number)) this.#onSize()
    })
    this.#channels.set(number, channel)
    if (peer.packetBytesMax < PACKET_BYTES_MIN) transport.violated('packets of a channel that small')
  }

  receive(transport: SshTransport, number: number, pieces: readonly Buffer[], bytes: number): void {
    const channel = this.#channels.get(number)
    // Data for a channel that this side has closed may still be under way; only its number is forgotten.
    if (channel !== undefined && !channel.receive(pieces, bytes)) transport.violated('data beyond its window')
  }

  /** What is said about channels that are there. */
  messages(transport: () => SshTransport): Ssh2MessageHandlers {
    return {
      CHANNEL_WINDOW_ADJUST: (_protocol, number, bytes) => {
        if (this.#channels.get(number)?.receiveWindow(bytes) === false) transport().violated('too large a window')
      },
      CHANNEL_EOF: (_protocol, number) => this.#channels.get(number)?.receiveEnd(),
      CHANNEL_CLOSE: (_protocol, number) => this.#channels.get(number)?.receiveClose(),
      CHANNEL_EXTENDED_DATA: () => transport().violated('extended data on a forwarded channel'),
    }
  }

  /** Something can be sent again: the channel that was first the last time comes last. */
  pump(): void {
    const [first] = this.#channels
    for (const channel of this.#channels.values()) channel.pump()
    if (first === undefined || !this.#channels.has(first[0])) return
    this.#channels.delete(first[0])
    this.#channels.set(...first)
  }

  /** The connection is gone. */
  break(): void {
    for (const channel of this.#channels.values()) channel.break()
    this.#channels.clear()
    this.#opening.clear()
  }
}
