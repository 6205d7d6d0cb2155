import type { Socket } from 'node:net'
import { PlatformError, toPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { ChunkSocket } from './chunk-socket.ts'
import type { Ed25519Key } from './ed25519-key.ts'
import { GcmOpener } from './gcm-opener.ts'
import { GcmSealer } from './gcm-sealer.ts'
import {
  createSsh2Protocol,
  type Ssh2GcmCipher,
  type Ssh2GcmDecipher,
  type Ssh2HostKey,
  type Ssh2MessageHandlers,
  type Ssh2Protocol,
} from './ssh2-protocol.ts'

/** Most bytes of one SSH_MSG_CHANNEL_DATA this side takes. OpenSSH takes, and so sends, 32 KiB. */
export const DATA_BYTES_MAX = 128 * 1024
const PACKET_BYTES_MAX = DATA_BYTES_MAX + 1024
/** Data stops while so much waits for the network. */
const SEND_BYTES_MAX = 512 * 1024
/** More than that are answers to a peer that asks and does not read. */
const OUTPUT_BYTES_MAX = 2 * 1024 * 1024
const QUEUED_MESSAGES_MAX = 4096
const BY_APPLICATION = 11
const PROTOCOL_ERROR = 2
/** For a farewell to leave and the peer to close. */
const FAREWELL_MS = 1000

export interface TransportTimes {
  /** A key exchange, the first one too, is over within this time. */
  readonly handshakeMs: number
  /** After so long a silence the peer is asked for a sign of life, */
  readonly keepaliveMs: number
  /** and so often in vain before it is given up. */
  readonly keepaliveMisses: number
  /** New keys after so many bytes in either direction. */
  readonly rekeyBytes: number
}

/** OpenSSH changes AES-GCM keys after 2^32 blocks, 64 GiB; half of that keeps well below. */
export const usualTimes: TransportTimes = {
  handshakeMs: 20_000,
  keepaliveMs: 15_000,
  keepaliveMisses: 3,
  rekeyBytes: 32 * 1024 ** 3,
}

export interface TransportOptions {
  /** Connected, and not read from yet. Owned from now on. */
  readonly chunks: ChunkSocket
  readonly role: { readonly hostKey: Ed25519Key } | { readonly isHostKey: (key: Buffer) => boolean }
  readonly times: TransportTimes
  readonly messages: Ssh2MessageHandlers
  /** Keys were exchanged, the first time and each further time. */
  readonly onKeys: () => void
  readonly onChannelData: (channel: number, pieces: readonly Buffer[], bytes: number) => void
  /** `canSend` may have become true. */
  readonly onCanSend: () => void
  /** Called once, when nothing more comes or goes. undefined: this side closed it, or the peer said farewell. */
  readonly onEnded: (error: PlatformError | undefined) => void
}

/**
 * One SSH connection below its messages: keys, packets, the socket, signs of life. Needs `ssh2Loaded`.
 *
 * Whatever a peer does that it must not ends the connection with `tunnel.protocol_violation`; a broken or silent
 * connection ends with `tunnel.disconnected`; a host key that `isHostKey` denies with `tunnel.host_key_mismatch`.
 */
export class SshTransport {
  readonly protocol: Ssh2Protocol
  readonly #options: TransportOptions
  readonly #socket: Socket
  #sealer: GcmSealer | undefined
  #opener: GcmOpener | undefined
  readonly #replies: ((isGranted: boolean) => void)[] = []
  #hasEnded = false
  #isHostKeyDenied = false
  /** Protocol parses while this is true: what it throws then is the peer's fault. */
  #heard = true
  #missed = 0
  #handshake: NodeJS.Timeout | undefined
  readonly #keepalive: NodeJS.Timeout

  constructor(options: TransportOptions) {
    const { chunks, role, times, messages } = options
    const { socket } = chunks
    this.#options = options
    this.#socket = socket
    this.protocol = createSsh2Protocol({
      ...('hostKey' in role
        ? { hostKeys: { 'ssh-ed25519': toHostKey(role.hostKey) } }
        : { hostVerifier: (key: Buffer) => this.#checkHostKey(role.isHostKey(key)) }),
      onWrite: (data) => this.#write([typeof data === 'string' ? Buffer.from(data) : data]),
      onError: (error) => this.#violated(error),
      onHandshakeComplete: () => this.#onKeys(),
      messageHandlers: this.#handlersWhileOpen({
        ...messages,
        REQUEST_SUCCESS: () => this.#onReply(true),
        REQUEST_FAILURE: () => this.#onReply(false),
        CHANNEL_DATA: (_protocol, channel, data) => options.onChannelData(channel, [data], data.length),
        DISCONNECT: (_protocol, reason, description) => this.#onFarewell(reason, description),
      }),
    })
    socket.setNoDelay(true)
    chunks.take = (chunk) => this.#read(chunk)
    socket.on('drain', () => options.onCanSend())
    socket.on('error', (error) => this.#end(disconnected(error.message, error)))
    socket.on('end', () => this.#end(disconnected('the peer closed the connection')))
    socket.on('close', () => this.#end(disconnected('the connection was closed')))
    this.#keepalive = setInterval(() => this.#checkLife(), times.keepaliveMs)
    this.#awaitKeys()
    this.protocol.start?.()
    socket.resume()
  }

  /** Whether data may be sent: keys stand and the socket takes more. */
  get canSend(): boolean {
    if (this.#hasEnded || this.#sealer === undefined || this.protocol._kexinit !== undefined) return false
    return this.#socket.writableLength < SEND_BYTES_MAX
  }

  /** Sends data of a channel, at most what the peer's window and packet size allow. Only while `canSend`. */
  sendData(channel: number, data: Uint8Array): void {
    this.#sealer?.sealChannelData(channel, data)
    if ((this.#sealer?.sealedBytes ?? 0) > this.#options.times.rekeyBytes) this.#rekey()
  }

  /** Sends a global request whose reply is wanted; replies come in the order of requests (RFC 4254, 4). */
  request(send: (protocol: Ssh2Protocol) => void, onReply: (isGranted: boolean) => void): void {
    if (this.#hasEnded) return
    this.#replies.push(onReply)
    send(this.protocol)
  }

  /** Says farewell and closes; `onEnded` is called before this returns. */
  close(error?: PlatformError): void {
    if (this.#hasEnded) return
    this.#sayFarewell(error?.code === 'tunnel.protocol_violation' ? PROTOCOL_ERROR : BY_APPLICATION)
    this.#end(error)
  }

  /** Stops and goes on taking in messages, for whoever has to think about the last one. */
  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    if (!this.#hasEnded) this.#socket.resume()
  }

  #read(chunk: Buffer): void {
    if (this.#hasEnded) return
    this.#heard = true
    try {
      // Until our own opener stands, what is parsed stays in the chunk.
      this.protocol.parse(this.#opener === undefined ? Buffer.from(chunk) : chunk, 0, chunk.length)
    } catch (error) {
      this.#violated(error)
      return
    }
    if (this.#hasEnded) return
    if (this.#socket.writableLength > OUTPUT_BYTES_MAX || (this.protocol._queue?.length ?? 0) > QUEUED_MESSAGES_MAX) {
      this.violated('it asks and does not read the answers')
    }
    if ((this.#opener?.openedBytes ?? 0) > this.#options.times.rekeyBytes) this.#rekey()
    if (this.protocol._kexinit !== undefined) this.#awaitKeys()
  }

  #write(pieces: readonly Uint8Array[]): void {
    if (this.#hasEnded) return
    const socket = this.#socket
    const many = pieces.length > 1
    if (many) socket.cork()
    for (const piece of pieces) socket.write(piece)
    if (many) socket.uncork()
  }

  #rekey(): void {
    if (this.protocol._kexinit !== undefined) return
    this.protocol.rekey()
    this.#awaitKeys()
  }

  #awaitKeys(): void {
    const { handshakeMs } = this.#options.times
    this.#handshake ??= setTimeout(() => this.violated(`no keys were agreed on within ${handshakeMs} ms`), handshakeMs)
  }

  /** Protocol has just made ciphers of its own for new keys, and nothing was opened with them yet. */
  #onKeys(): void {
    clearTimeout(this.#handshake)
    this.#handshake = undefined
    const { protocol } = this
    this.#sealer = new GcmSealer(protocol._cipher as Ssh2GcmCipher, (pieces) => this.#write(pieces))
    this.#opener = new GcmOpener(protocol._decipher as Ssh2GcmDecipher, {
      packetBytesMax: PACKET_BYTES_MAX,
      onChannelData: this.#options.onChannelData,
      isOver: () => this.#hasEnded,
    })
    protocol._cipher = this.#sealer
    protocol._decipher = this.#opener
    this.#options.onKeys()
    this.#options.onCanSend()
  }

  #checkHostKey(isKnown: boolean): boolean {
    this.#isHostKeyDenied = !isKnown
    return isKnown
  }

  #checkLife(): void {
    if (this.#heard) this.#missed = 0
    else this.#missed += 1
    this.#heard = false
    const { keepaliveMisses, keepaliveMs } = this.#options.times
    if (this.#missed > keepaliveMisses) {
      this.#end(disconnected(`no sign of life for ${this.#missed * keepaliveMs} ms`))
    } else if (this.#sealer !== undefined) {
      this.request(
        (protocol) => protocol.ping(),
        () => undefined,
      )
    }
  }

  #onReply(isGranted: boolean): void {
    const onReply = this.#replies.shift()
    if (onReply === undefined) this.violated('a reply nobody asked for')
    else onReply(isGranted)
  }

  /** One chunk may hold messages behind the one that ended the connection. */
  #handlersWhileOpen(handlers: Ssh2MessageHandlers): Ssh2MessageHandlers {
    const whileOpen = Object.entries(handlers).map(([name, handle]: [string, (...args: unknown[]) => void]) => [
      name,
      (...args: unknown[]) => {
        if (!this.#hasEnded) handle(...args)
      },
    ])
    return Object.fromEntries(whileOpen) as Ssh2MessageHandlers
  }

  #onFarewell(reason: number, description: string): void {
    const error = reason === BY_APPLICATION ? undefined : disconnected(`the peer ended it: ${printable(description)}`)
    this.#end(error)
  }

  /** Ends it with `tunnel.protocol_violation`. */
  violated(why: string): void {
    this.#violated(new Error(why))
  }

  #violated(cause: unknown): void {
    if (this.#hasEnded) return
    const text = toPlatformError(cause).message
    const denied = this.#isHostKeyDenied
    this.#sayFarewell(PROTOCOL_ERROR)
    this.#end(
      denied
        ? new PlatformError('tunnel.host_key_mismatch', 'the host key is not the one that was pinned', { cause })
        : new PlatformError('tunnel.protocol_violation', `the peer does not keep to SSH: ${text}`, { cause }),
    )
  }

  #sayFarewell(reason: number): void {
    try {
      this.protocol.disconnect(reason)
    } catch {
      // Protocol may have ended itself already, which it tells by throwing.
    }
  }

  #end(error: PlatformError | undefined): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    clearTimeout(this.#handshake)
    clearInterval(this.#keepalive)
    const socket = this.#socket
    socket.resume()
    socket.end()
    setTimeout(() => socket.destroy(), FAREWELL_MS).unref()
    this.protocol.cleanup()
    this.#options.onEnded(error)
  }
}

function toHostKey(key: Ed25519Key): Ssh2HostKey {
  return { type: 'ssh-ed25519', getPublicSSH: () => key.publicKey, sign: (blob) => key.sign(blob) }
}

function disconnected(why: string, cause?: unknown): PlatformError {
  return new PlatformError('tunnel.disconnected', `the connection broke: ${why}`, { cause })
}

/** What a peer wrote, fit for a log: short, and nothing but visible ASCII. */
export function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 100)
}
