import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { ChannelTable } from '../ssh/channel-table.ts'
import type { ChunkSocket } from '../ssh/chunk-socket.ts'
import { type Ed25519Key, fingerprintOf, isEd25519PublicKey, isSignedBy } from '../ssh/ed25519-key.ts'
import { WINDOW_BYTES } from '../ssh/ssh-channel.ts'
import { DATA_BYTES_MAX, printable, SshTransport, type TransportTimes } from '../ssh/ssh-transport.ts'
import type { PublicKeyLogin, Ssh2Protocol } from '../ssh/ssh2-protocol.ts'

const SERVICE_NOT_AVAILABLE = 7
const PROHIBITED = 1
const METHODS = ['publickey']
/** Global requests whose answer is not known yet. */
const REQUESTS_WAITING_MAX = 64

export interface SessionLimits {
  /** From the first byte until it is known who it is. */
  readonly loginMs: number
  /** Failed log-ins, methods that are not offered included. */
  readonly loginAttemptsMax: number
  /** Requests for what is not granted, after which a connection is ended. */
  readonly refusalsMax: number
  readonly channelsMax: number
}

export const usualSessionLimits: SessionLimits = {
  loginMs: 20_000,
  loginAttemptsMax: 6,
  refusalsMax: 32,
  channelsMax: 64,
}

/** A key that proved to be the peer's, and the user name it gave. */
export interface LoginRequest {
  readonly userName: string
  readonly fingerprint: string
  /** base64 of the key as it travels. */
  readonly publicKey: string
}

export interface SessionOptions {
  /** Connected, and not read from yet. Owned from now on. */
  readonly chunks: ChunkSocket
  readonly hostKey: Ed25519Key
  readonly limits: SessionLimits
  readonly times: TransportTimes
  /** Resolves with the ports granted to the key, or undefined. Must not reject. */
  readonly onLogin: (request: LoginRequest) => Promise<readonly number[] | undefined>
  /** A granted port is to lead here from now on, or not any more. Resolves when it does. Must not reject. */
  readonly onForward: (port: number, wanted: boolean) => Promise<boolean>
  /** Something that is not allowed was asked for; `what` is fit for a log. */
  readonly onRefused: (what: string) => void
  /** How many channels are open or being opened, after each change. */
  readonly onChannels: (channels: number) => void
  readonly onEnded: (error: PlatformError | undefined) => void
}

/**
 * One capture agent's connection, as the server sees it: who it is, and which of its requests are granted. It knows
 * one authentication (an Ed25519 key) and one service (remote forwarding of granted ports); all else is refused here,
 * and told.
 */
export class TunnelSession {
  readonly #options: SessionOptions
  readonly #transport: SshTransport
  readonly #channels: ChannelTable
  readonly #waitingSockets = new Map<number, ChunkSocket>()
  /** Ports that lead here, and the address the peer named with them, which it wants to hear again. */
  readonly #forwards = new Map<number, string>()
  readonly #loginDeadline: NodeJS.Timeout
  #ports: readonly number[] | undefined
  #hasService = false
  #isLoginPending = false
  #attempts = 0
  #refusals = 0
  #requests: Promise<void> = Promise.resolve()
  #requestsWaiting = 0
  #hasEnded = false

  constructor(options: SessionOptions) {
    const { limits, hostKey, chunks, times } = options
    this.#options = options
    this.#channels = new ChannelTable(limits.channelsMax, () => options.onChannels(this.#channels.size))
    this.#loginDeadline = setTimeout(() => this.#violated('nobody logged in in time'), limits.loginMs)
    this.#transport = new SshTransport({
      chunks,
      role: { hostKey },
      times,
      messages: {
        ...this.#channels.messages(() => this.#transport),
        SERVICE_REQUEST: (protocol, name) => this.#onService(protocol, name),
        USERAUTH_REQUEST: (protocol, userName, service, method, data) =>
          this.#onLogin(protocol, { userName, service, method, data }),
        GLOBAL_REQUEST: (_protocol, name, wantReply, data) => this.#onGlobalRequest(name, wantReply, data),
        CHANNEL_OPEN: (protocol, { type, sender }) => this.#onOpen(protocol, type, sender),
        CHANNEL_OPEN_CONFIRMATION: (_protocol, info) =>
          this.#onOpened(info.recipient, {
            channel: info.sender,
            windowBytes: info.window,
            packetBytesMax: info.packetSize,
          }),
        CHANNEL_OPEN_FAILURE: (_protocol, channel) => this.#onNotOpened(channel),
        CHANNEL_REQUEST: (protocol, channel, type, wantReply) =>
          this.#onChannelRequest(protocol, channel, type, wantReply),
      },
      onKeys: () => undefined,
      onChannelData: (channel, pieces, bytes) => this.#channels.receive(this.#transport, channel, pieces, bytes),
      onCanSend: () => this.#channels.pump(),
      onEnded: (error) => this.#onEnded(error),
    })
  }

  /**
   * Joins a socket, not read from yet, to a new channel of a forwarded port. Closes it where the port does not lead
   * here, there are too many channels, or the peer declines.
   */
  openChannel(port: number, chunks: ChunkSocket): void {
    const address = this.#forwards.get(port)
    const channel = address === undefined || this.#hasEnded ? undefined : this.#channels.reserve()
    if (address === undefined || channel === undefined) {
      chunks.socket.destroy()
      return
    }
    this.#waitingSockets.set(channel, chunks)
    this.#transport.protocol.forwardedTcpip(channel, WINDOW_BYTES, DATA_BYTES_MAX, {
      boundAddr: address,
      boundPort: port,
      remoteAddr: '127.0.0.1',
      remotePort: 0,
    })
  }

  /** Ends the connection; `onEnded` is called before this returns. */
  close(error?: PlatformError): void {
    this.#transport.close(error)
  }

  #onService(protocol: Ssh2Protocol, name: string): void {
    if (name !== 'ssh-userauth' || this.#hasService) {
      protocol.disconnect(SERVICE_NOT_AVAILABLE)
      this.#violated('another service was asked for')
      return
    }
    this.#hasService = true
    protocol.serviceAccept(name)
  }

  #onLogin(protocol: Ssh2Protocol, login: { userName: string; service: string; method: string; data: unknown }): void {
    // RFC 4252, 5.1: what comes after a success is ignored.
    if (this.#ports !== undefined) return
    if (!this.#hasService || login.service !== 'ssh-connection' || this.#isLoginPending) {
      this.#violated('a log-in out of turn')
      return
    }
    const key = login.method === 'publickey' ? (login.data as PublicKeyLogin) : undefined
    if (key === undefined || key.keyAlgo !== 'ssh-ed25519' || !isEd25519PublicKey(key.key)) {
      const what = key === undefined ? login.method : `key of kind ${key.keyAlgo}`
      // Clients ask for "none" to hear what there is.
      this.#declineLogin(protocol, login.method === 'none' ? undefined : `log-in by ${printable(what)}`)
      return
    }
    const { signature, blob } = key
    // Whether the key is known is not told before it proved to be the peer's.
    if (signature === undefined || blob === undefined) protocol.authPKOK(key.keyAlgo, key.key)
    else if (isSignedBy(key.key, blob, signature)) void this.#judge(protocol, login.userName, key.key)
    else this.#declineLogin(protocol, 'log-in with a false signature')
  }

  async #judge(protocol: Ssh2Protocol, userName: string, key: Buffer): Promise<void> {
    this.#isLoginPending = true
    this.#transport.pause()
    const fingerprint = fingerprintOf(key)
    const ports = await this.#options.onLogin({ userName, fingerprint, publicKey: key.toString('base64') })
    if (this.#hasEnded) return
    this.#isLoginPending = false
    if (ports === undefined) {
      this.#declineLogin(protocol, `log-in with key ${fingerprint}`)
    } else {
      this.#ports = ports
      clearTimeout(this.#loginDeadline)
      protocol.authSuccess()
    }
    this.#transport.resume()
  }

  #declineLogin(protocol: Ssh2Protocol, what: string | undefined): void {
    if (what !== undefined) this.#options.onRefused(what)
    this.#attempts += 1
    if (this.#attempts < this.#options.limits.loginAttemptsMax) protocol.authFailure(METHODS, false)
    else this.#violated('too many log-ins failed')
  }

  /** Answers come in the order of requests, so each waits for the one before. */
  #onGlobalRequest(name: string, wantReply: boolean, data: unknown): void {
    if (this.#ports === undefined || this.#requestsWaiting >= REQUESTS_WAITING_MAX) {
      this.#violated(this.#ports === undefined ? 'a request before the log-in' : 'too many requests at once')
      return
    }
    this.#requestsWaiting += 1
    this.#requests = this.#answer(this.#requests, name, wantReply, data)
  }

  async #answer(before: Promise<void>, name: string, wantReply: boolean, data: unknown): Promise<void> {
    await before
    const granted = !this.#hasEnded && (await this.#grant(name, data))
    this.#requestsWaiting -= 1
    if (this.#hasEnded || !wantReply) return
    if (granted) this.#transport.protocol.requestSuccess()
    else this.#transport.protocol.requestFailure()
  }

  async #grant(name: string, data: unknown): Promise<boolean> {
    if (name === 'tcpip-forward' || name === 'cancel-tcpip-forward') {
      const { bindAddr, bindPort } = data as { bindAddr: string; bindPort: number }
      const isGranted = this.#ports?.includes(bindPort) === true
      const leadsHere = this.#forwards.has(bindPort)
      if (name === 'cancel-tcpip-forward') return leadsHere && (await this.#forward(bindPort, undefined))
      if (isGranted && !leadsHere) return await this.#forward(bindPort, bindAddr)
      if (!isGranted) this.#refuse(`forwarding of port ${bindPort}`)
      return false
    }
    if (name === 'no-more-sessions@openssh.com') return true
    // What OpenSSH's client sends by itself; to say no is the answer it wants.
    if (name !== 'keepalive@openssh.com') this.#refuse(`request ${printable(name)}`)
    return false
  }

  async #forward(port: number, address: string | undefined): Promise<boolean> {
    if (address === undefined) this.#forwards.delete(port)
    else this.#forwards.set(port, address)
    const done = await this.#options.onForward(port, address !== undefined)
    if (!done) this.#forwards.delete(port)
    return done
  }

  #onOpen(protocol: Ssh2Protocol, type: string, sender: number): void {
    if (this.#ports === undefined) {
      this.#violated('a channel before the log-in')
      return
    }
    protocol.channelOpenFail(sender, PROHIBITED, 'only remote forwarding is allowed here')
    this.#refuse(`channel ${printable(type)}`)
  }

  #onOpened(number: number, peer: { channel: number; windowBytes: number; packetBytesMax: number }): void {
    const chunks = this.#takeWaiting(number)
    if (chunks !== undefined) this.#channels.open(number, this.#transport, peer, chunks)
  }

  #onNotOpened(number: number): void {
    const chunks = this.#takeWaiting(number)
    this.#channels.release(number)
    chunks?.socket.destroy()
  }

  #takeWaiting(number: number): ChunkSocket | undefined {
    const chunks = this.#waitingSockets.get(number)
    this.#waitingSockets.delete(number)
    if (chunks === undefined) this.#violated('an answer to a channel that is not being opened')
    return chunks
  }

  #onChannelRequest(protocol: Ssh2Protocol, channel: number, type: string, wantReply: boolean): void {
    const remote = this.#channels.peerOf(channel)
    if (wantReply && remote !== undefined) protocol.channelFailure(remote)
    if (type !== 'keepalive@openssh.com') this.#refuse(`channel request ${printable(type)}`)
  }

  #refuse(what: string): void {
    this.#options.onRefused(what)
    this.#refusals += 1
    if (this.#refusals >= this.#options.limits.refusalsMax) this.#violated('too much was asked for that is not granted')
  }

  #violated(why: string): void {
    this.#transport.violated(why)
  }

  #onEnded(error: PlatformError | undefined): void {
    this.#hasEnded = true
    clearTimeout(this.#loginDeadline)
    this.#channels.break()
    for (const { socket } of this.#waitingSockets.values()) socket.destroy()
    this.#waitingSockets.clear()
    this.#forwards.clear()
    this.#options.onEnded(error)
  }
}
