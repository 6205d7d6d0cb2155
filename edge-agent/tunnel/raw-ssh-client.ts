import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type Ed25519Key, generateEd25519Key, readEd25519Key } from './ssh/ed25519-key.ts'
import { createSsh2Protocol, ssh2Loaded, type Ssh2Protocol } from './ssh/ssh2-protocol.ts'

/** Messages of ssh2's Protocol that only a peer that means no good sends to a tunnel's server. */
export interface HostileProtocol extends Ssh2Protocol {
  authNone(userName: string): void
  authPassword(userName: string, password: string): void
  authKeyboard(userName: string): void
  session(channel: number, windowBytes: number, packetBytesMax: number): void
  directTcpip(channel: number, windowBytes: number, packetBytesMax: number, to: object): void
  channelData(channel: number, data: Buffer): void
  channelExtData(channel: number, data: Buffer, type: number): void
}

/** An SSH client for tests that says exactly what it is told to, and keeps what it hears. */
export class RawSshClient implements Disposable {
  readonly protocol: HostileProtocol
  readonly socket: Socket
  /** Names of messages heard, with what they are about. */
  readonly heard: string[] = []
  /** Channels the server opened: its number, and how much may be sent. */
  readonly opened: { sender: number; window: number }[] = []
  readonly #ready = Promise.withResolvers<void>()
  /** Resolves when the connection is over, whoever ended it. */
  readonly over: Promise<void>

  private constructor(socket: Socket) {
    this.socket = socket
    this.#ready.promise.catch(() => undefined)
    const over = Promise.withResolvers<void>()
    this.over = over.promise
    socket.on('close', () => {
      this.#ready.reject(new Error('the connection was closed before keys were agreed on'))
      over.resolve()
    })
    const note = (text: string): void => void this.heard.push(text)
    this.protocol = createSsh2Protocol({
      hostVerifier: () => true,
      onWrite: (data) => socket.writable && socket.write(data),
      onError: (error) => note(`error ${error.message}`),
      onHandshakeComplete: () => this.#ready.resolve(),
      messageHandlers: {
        DISCONNECT: (_protocol, reason) => note(`disconnect ${reason}`),
        SERVICE_ACCEPT: (_protocol, name) => note(`service ${name}`),
        USERAUTH_SUCCESS: () => note('success'),
        USERAUTH_FAILURE: (_protocol, methods) => note(`failure ${methods.join(',')}`),
        REQUEST_SUCCESS: () => note('granted'),
        REQUEST_FAILURE: () => note('declined'),
        CHANNEL_OPEN_FAILURE: (_protocol, channel) => note(`not opened ${channel}`),
        CHANNEL_OPEN_CONFIRMATION: (_protocol, { recipient }) => note(`opened ${recipient}`),
        CHANNEL_OPEN: (_protocol, { sender, window }) => this.opened.push({ sender, window }),
        CHANNEL_CLOSE: (_protocol, channel) => note(`closed ${channel}`),
      },
    }) as HostileProtocol
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => {
      try {
        this.protocol.parse(chunk, 0, chunk.length)
      } catch (error) {
        note(`error ${String(error)}`)
      }
    })
    this.protocol.start?.()
  }

  /** Connected, keys agreed on; nothing else was said. */
  static async connect(port: number): Promise<RawSshClient> {
    await ssh2Loaded()
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    const client = new RawSshClient(socket)
    await client.#ready.promise
    return client
  }

  /** The same, and asked for log-ins. */
  static async connectForLogin(port: number): Promise<RawSshClient> {
    const client = await RawSshClient.connect(port)
    client.protocol.service('ssh-userauth')
    await client.until((text) => text.startsWith('service'))
    return client
  }

  /** The same, and logged in. */
  static async logIn(port: number, keyPem: string, userName = 'capture'): Promise<RawSshClient> {
    const client = await RawSshClient.connectForLogin(port)
    client.sign(userName, readEd25519Key(keyPem, 'test'))
    await client.until((text) => text === 'success')
    return client
  }

  /** Sends a log-in with a signature: of the key, or of another key in its place. */
  sign(userName: string, key: Ed25519Key, signer: Ed25519Key = key): void {
    this.protocol.authPK(userName, key.publicKey, 'ssh-ed25519', (blob, done) => done(signer.sign(blob)))
  }

  /** Any message at all, for those Protocol has no function for. */
  send(payload: Buffer): void {
    const packet = this.protocol._cipher.allocPacket(payload.length)
    packet.set(payload, 5)
    this.protocol._cipher.encrypt(packet)
  }

  stranger(): Ed25519Key {
    return readEd25519Key(generateEd25519Key(), 'stranger')
  }

  /** Resolves when something like that was heard. */
  async until(isIt: (text: string) => boolean, signal = AbortSignal.timeout(20_000)): Promise<void> {
    while (!this.heard.some(isIt)) {
      signal.throwIfAborted()
      if (this.socket.destroyed) throw new Error(`the connection ended; heard ${this.heard.join('; ')}`)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  [Symbol.dispose](): void {
    this.socket.destroy()
  }
}
