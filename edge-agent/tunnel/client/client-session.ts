import type { Socket } from 'node:net'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { ChannelTable } from '../ssh/channel-table.ts'
import { type ChunkSocket, connectInChunks } from '../ssh/chunk-socket.ts'
import { type Ed25519Key, fingerprintOf } from '../ssh/ed25519-key.ts'
import { WINDOW_BYTES } from '../ssh/ssh-channel.ts'
import { DATA_BYTES_MAX, SshTransport, type TransportTimes } from '../ssh/ssh-transport.ts'
import type { ChannelOpen, Ssh2Protocol } from '../ssh/ssh2-protocol.ts'
import type { LocalTarget } from './dial-messages.ts'

const PROHIBITED = 1
const CONNECT_FAILED = 2
const RESOURCE_SHORTAGE = 4
/** Named with forwarded ports; OpenSSH's server takes it for its loopback interface. */
const BIND_ADDRESS = 'localhost'
const CHANNELS_MAX = 256
const TARGET_WITHIN_MS = 10_000

export interface ClientSessionOptions {
  /** Connected, and not read from yet. Owned from now on. */
  readonly chunks: ChunkSocket
  readonly hostKeyFingerprint: string
  readonly key: Ed25519Key
  readonly userName: string
  readonly times: TransportTimes
  readonly findTarget: (port: number) => LocalTarget | undefined
  /** Logged in. */
  readonly onReady: () => void
  readonly onEnded: (error: PlatformError | undefined) => void
}

/** One connection to a tunnel's server, as the capture side sees it. Nothing is sent before the host key was checked. */
export class ClientSession {
  readonly #options: ClientSessionOptions
  readonly #transport: SshTransport
  readonly #channels = new ChannelTable(CHANNELS_MAX, () => undefined)
  readonly #ports = new Set<number>()
  readonly #connecting = new Set<Socket>()
  readonly #over = Promise.withResolvers<never>()
  #isReady = false

  constructor(options: ClientSessionOptions) {
    this.#options = options
    this.#over.promise.catch(() => undefined)
    this.#transport = new SshTransport({
      chunks: options.chunks,
      role: { isHostKey: (key) => fingerprintOf(key) === options.hostKeyFingerprint },
      times: options.times,
      messages: {
        ...this.#channels.messages(() => this.#transport),
        SERVICE_ACCEPT: (protocol) => this.#logIn(protocol),
        USERAUTH_SUCCESS: () => this.#onLoggedIn(),
        USERAUTH_FAILURE: () => this.#onLoginDeclined(),
        // Servers may send those; none of them is for us.
        GLOBAL_REQUEST: (protocol, _name, wantReply) => wantReply && protocol.requestFailure(),
        CHANNEL_OPEN: (protocol, open) => this.#onOpen(protocol, open),
        CHANNEL_REQUEST: (protocol, channel, _type, wantReply) => {
          const remote = this.#channels.peerOf(channel)
          if (wantReply && remote !== undefined) protocol.channelFailure(remote)
        },
      },
      onKeys: () => {
        if (!this.#isReady) this.#transport.protocol.service('ssh-userauth')
      },
      onChannelData: (channel, pieces, bytes) => this.#channels.receive(this.#transport, channel, pieces, bytes),
      onCanSend: () => this.#channels.pump(),
      onEnded: (error) => this.#onEnded(error),
    })
  }

  /** Asks that `port` leads here. Resolves with whether it was granted; rejects when the connection ends before. */
  async forward(port: number): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    this.#transport.request((protocol) => protocol.tcpipForward(BIND_ADDRESS, port, true), resolve)
    // The server may open the first channel together with its answer.
    this.#ports.add(port)
    const isGranted = await Promise.race([promise, this.#over.promise])
    if (!isGranted) this.#ports.delete(port)
    return isGranted
  }

  close(error?: PlatformError): void {
    this.#transport.close(error)
  }

  #logIn(protocol: Ssh2Protocol): void {
    const { key, userName } = this.#options
    protocol.authPK(userName, key.publicKey, 'ssh-ed25519', (blob, done) => {
      done(key.sign(blob))
    })
  }

  #onLoggedIn(): void {
    if (this.#isReady) return
    this.#isReady = true
    this.#options.onReady()
  }

  #onLoginDeclined(): void {
    this.#transport.close(new PlatformError('tunnel.login_refused', 'the edge agent does not accept this key'))
  }

  #onOpen(protocol: Ssh2Protocol, open: ChannelOpen): void {
    const port = open.data.destPort
    const isOurs = this.#isReady && open.type === 'forwarded-tcpip' && port !== undefined && this.#ports.has(port)
    const target = isOurs ? this.#options.findTarget(port) : undefined
    const number = target === undefined ? undefined : this.#channels.reserve()
    if (target === undefined || number === undefined) {
      const reason = !isOurs ? PROHIBITED : target === undefined ? CONNECT_FAILED : RESOURCE_SHORTAGE
      protocol.channelOpenFail(open.sender, reason, '')
      return
    }
    this.#connect(number, open, target)
  }

  #connect(number: number, open: ChannelOpen, target: LocalTarget): void {
    const chunks = connectInChunks(target)
    const { socket } = chunks
    this.#connecting.add(socket)
    const decline = (): void => {
      if (!this.#connecting.delete(socket)) return
      socket.destroy()
      this.#channels.release(number)
      this.#transport.protocol.channelOpenFail(open.sender, CONNECT_FAILED, '')
    }
    socket.setTimeout(TARGET_WITHIN_MS, decline)
    socket.once('error', decline)
    socket.once('connect', () => {
      if (!this.#connecting.delete(socket)) return
      socket.setTimeout(0)
      socket.removeListener('error', decline)
      const peer = { channel: open.sender, windowBytes: open.window, packetBytesMax: open.packetSize }
      this.#transport.protocol.channelOpenConfirm(open.sender, number, WINDOW_BYTES, DATA_BYTES_MAX)
      this.#channels.open(number, this.#transport, peer, chunks)
    })
  }

  #onEnded(error: PlatformError | undefined): void {
    this.#channels.break()
    for (const socket of this.#connecting) socket.destroy()
    this.#connecting.clear()
    this.#over.reject(error ?? new PlatformError('tunnel.disconnected', 'the connection was closed'))
    this.#options.onEnded(error)
  }
}
