import { createRequire } from 'node:module'

/**
 * The one place that knows the inside of ssh2 (the package is pinned to an exact version; ssh2-protocol.test.ts holds
 * what is relied on). Its class `Protocol` is SSH's transport and the codec of all messages: identification, key
 * exchange with strict mode, ciphers, message parsing. Connections and policy above it are ours, because ssh2's own
 * Client and Server cannot bound what a peer makes them keep (docs/decisions/0018).
 */
export interface Ssh2Protocol {
  /** Sends the identification line. Gone once it was called. */
  start?: () => void
  /** Takes what arrived. Throws where the peer breaks the protocol. */
  parse(chunk: Uint8Array, from: number, to: number): void
  /** Frees ciphers; nothing can be sent or parsed afterwards. */
  cleanup(): void
  disconnect(reason: number): void
  /** A global request with a reply: any answer shows that the peer is there. */
  ping(): void
  /** New keys. Messages wait meanwhile, in `_queue`. */
  rekey(): void

  service(name: string): void
  authPK(
    userName: string,
    publicKey: Buffer,
    algorithm: string,
    sign: (blob: Buffer, done: (signature: Buffer) => void) => void,
  ): void
  serviceAccept(name: string): void
  authFailure(methods: readonly string[], isPartial: boolean): void
  authSuccess(): void
  authPKOK(algorithm: string, key: Buffer): void

  requestSuccess(): void
  requestFailure(): void
  tcpipForward(address: string, port: number, wantReply: boolean): void

  forwardedTcpip(
    channel: number,
    windowBytes: number,
    packetBytesMax: number,
    origin: { boundAddr: string; boundPort: number; remoteAddr: string; remotePort: number },
  ): void
  channelOpenConfirm(remote: number, local: number, windowBytes: number, packetBytesMax: number): void
  channelOpenFail(remote: number, reason: number, description: string): void
  channelWindowAdjust(remote: number, bytes: number): void
  channelEOF(remote: number): void
  channelClose(remote: number): void
  channelFailure(remote: number): void

  /** Ours while a key exchange is under way; undefined otherwise. */
  readonly _kexinit: Buffer | undefined
  readonly _queue: readonly Buffer[] | undefined
  _cipher: Ssh2Cipher
  _decipher: Ssh2Decipher
}

/** What Protocol sends packets with. A packet: 4 bytes length, 1 byte padding length, payload, padding. */
export interface Ssh2Cipher {
  outSeqno: number
  allocPacket(payloadBytes: number): Buffer
  encrypt(packet: Buffer): void
  free(): void
}

/** What Protocol takes packets in with. */
export interface Ssh2Decipher {
  inSeqno: number
  /** Replaced by Protocol while keys are exchanged. */
  _onPayload: PayloadHandler
  /** Returns where Protocol goes on with whatever decipher it has then; undefined: all was taken. */
  decrypt(data: Uint8Array, from: number, to: number): number | undefined
  free(): void
}

/** undefined: go on; false: return the position to Protocol; a number: return that. */
export type PayloadHandler = (payload: Buffer) => number | false | undefined

/** The fields of ssh2's own AES-GCM cipher and decipher, which gcm-sealer.ts and gcm-opener.ts take over. */
export interface Ssh2GcmCipher extends Ssh2Cipher {
  readonly _encSSLName: string
  readonly _encKey: Buffer
  /** 12 bytes; the last 8 are counted up after each packet. */
  readonly _encIV: Buffer
}

export interface Ssh2GcmDecipher extends Ssh2Decipher {
  readonly _decipherSSLName: string
  readonly _decipherKey: Buffer
  readonly _decipherIV: Buffer
}

/** What Protocol asks of a host key. */
export interface Ssh2HostKey {
  readonly type: string
  getPublicSSH(): Buffer
  sign(blob: Buffer): Buffer
}

export interface PublicKeyLogin {
  /** Named by the client; nothing says that `key` is of this kind. */
  readonly keyAlgo: string
  readonly key: Buffer
  /** Both absent: the client only asks whether the key would do. */
  readonly signature?: Buffer
  /** What was signed (RFC 4252, 7). */
  readonly blob?: Buffer
}

export interface ChannelOpen {
  readonly type: string
  readonly sender: number
  readonly window: number
  readonly packetSize: number
  readonly data: { readonly destIP?: string; readonly destPort?: number }
}

/** Messages that arrived, already parsed. Those that are not handled are dropped by Protocol. */
export interface Ssh2MessageHandlers {
  DISCONNECT?: (protocol: Ssh2Protocol, reason: number, description: string) => void
  SERVICE_REQUEST?: (protocol: Ssh2Protocol, name: string) => void
  SERVICE_ACCEPT?: (protocol: Ssh2Protocol, name: string) => void
  USERAUTH_REQUEST?: (
    protocol: Ssh2Protocol,
    userName: string,
    service: string,
    method: string,
    /** PublicKeyLogin where the method is `publickey`. */
    data: unknown,
  ) => void
  USERAUTH_FAILURE?: (protocol: Ssh2Protocol, methods: string[], isPartial: boolean) => void
  USERAUTH_SUCCESS?: (protocol: Ssh2Protocol) => void
  GLOBAL_REQUEST?: (protocol: Ssh2Protocol, name: string, wantReply: boolean, data: unknown) => void
  REQUEST_SUCCESS?: (protocol: Ssh2Protocol, data: Buffer | null) => void
  REQUEST_FAILURE?: (protocol: Ssh2Protocol) => void
  CHANNEL_OPEN?: (protocol: Ssh2Protocol, open: ChannelOpen) => void
  CHANNEL_OPEN_CONFIRMATION?: (
    protocol: Ssh2Protocol,
    info: { recipient: number; sender: number; window: number; packetSize: number },
  ) => void
  CHANNEL_OPEN_FAILURE?: (protocol: Ssh2Protocol, recipient: number, reason: number, description: string) => void
  CHANNEL_DATA?: (protocol: Ssh2Protocol, recipient: number, data: Buffer) => void
  CHANNEL_EXTENDED_DATA?: (protocol: Ssh2Protocol, recipient: number, data: Buffer, type: number) => void
  CHANNEL_WINDOW_ADJUST?: (protocol: Ssh2Protocol, recipient: number, bytes: number) => void
  CHANNEL_EOF?: (protocol: Ssh2Protocol, recipient: number) => void
  CHANNEL_CLOSE?: (protocol: Ssh2Protocol, recipient: number) => void
  CHANNEL_REQUEST?: (protocol: Ssh2Protocol, recipient: number, type: string, wantReply: boolean, data: unknown) => void
}

interface Ssh2ProtocolOptions {
  readonly server: boolean
  readonly ident: string
  /** Server: the host keys by algorithm. */
  readonly hostKeys?: Readonly<Record<string, Ssh2HostKey>>
  /** Client: whether to go on with this host key; asked at every key exchange. */
  readonly hostVerifier?: (key: Buffer) => boolean
  readonly offer: {
    readonly kex: readonly string[]
    readonly serverHostKey: readonly string[]
    readonly cs: AlgorithmLists
    readonly sc: AlgorithmLists
  }
  readonly onWrite: (data: Buffer | string) => void
  readonly onError: (error: Error) => void
  readonly onHandshakeComplete: () => void
  readonly messageHandlers: Ssh2MessageHandlers
}

interface AlgorithmLists {
  readonly cipher: readonly string[]
  readonly mac: readonly string[]
  readonly compress: readonly string[]
  readonly lang: readonly string[]
}

const inside = createRequire(import.meta.url)
const Protocol = inside('ssh2/lib/protocol/Protocol.js') as new (options: Ssh2ProtocolOptions) => Ssh2Protocol
const cryptography = inside('ssh2/lib/protocol/crypto.js') as { readonly init: Promise<void> }

/** The key exchanges and ciphers both ends of a tunnel and any OpenSSH of the last ten years have in common. */
const algorithmLists: AlgorithmLists = {
  cipher: ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com'],
  // Not used beside GCM, but the list must not be empty for peers that compare it all the same.
  mac: ['hmac-sha2-256-etm@openssh.com', 'hmac-sha2-512-etm@openssh.com'],
  compress: ['none'],
  lang: [],
}
const keyExchanges = ['curve25519-sha256', 'curve25519-sha256@libssh.org', 'ecdh-sha2-nistp256']

/** Resolves when ssh2 can be used: it loads one of its parts in the background. */
export async function ssh2Loaded(): Promise<void> {
  await cryptography.init
}

/** Only these algorithms: X25519 or P-256, Ed25519 host keys, AES-GCM, no compression. */
export function createSsh2Protocol(options: Omit<Ssh2ProtocolOptions, 'ident' | 'offer' | 'server'>): Ssh2Protocol {
  const offer = { kex: keyExchanges, serverHostKey: ['ssh-ed25519'], cs: algorithmLists, sc: algorithmLists }
  return new Protocol({ ...options, server: options.hostKeys !== undefined, ident: 'sendense', offer })
}
