import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSecureContext, TLSSocket } from 'node:tls'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'
import { OPTION_REPLY_HEADER_BYTES } from '../wire/handshake-options.ts'
import {
  NBD_CMD_DISC,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_UNSUP,
  NBD_REP_FLAG_ERROR,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REPLY_FLAG_DONE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_EXTENDED_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
} from '../wire/nbd-constants.ts'
import {
  encodeBlockSizeInfo,
  encodeExportInfo,
  encodeGreeting,
  encodeMetaContext,
  encodeOptionReply,
} from '../wire/option-replies.ts'
import { decodeRequest, requestHeaderBytes } from '../wire/received-request.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import { HandshakeBuffer } from './handshake-buffer.ts'
import type { TestCertificate } from './test-authority.ts'

/** One request as it arrived. */
export interface ScriptedRequest {
  readonly command: number
  readonly commandFlags: number
  readonly cookie: bigint
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** Of a WRITE. */
  readonly payload: Buffer
}

export interface ScriptedServerOptions {
  readonly sizeBytes?: number
  readonly flags?: number
  /** The best that the server negotiates. Default: structured. */
  readonly replyStyle?: ReplyStyle
  /** Named in the order of their ids, from 1 on, when the client asks for them. */
  readonly contexts?: readonly string[]
  readonly blockSizes?: readonly [minimum: number, preferred: number, maximum: number]
  readonly greeting?: Buffer
  /** Asks for a certificate of the client where `clientCaPem` is there; `onRequest` may look at it. */
  readonly tls?: TestCertificate & { readonly clientCaPem?: string }
  /** Sent when the client has begun with TLS. */
  readonly insteadOfTls?: Buffer
  /** Raw answer to an option, instead of the usual one. */
  readonly answerOption?: (option: number, data: Buffer) => Buffer | undefined
  /** The server vanishes when it has sent so many bytes in all, in the middle of what it says if need be. */
  readonly vanishAfterBytes?: number
  /** Or it says nothing more from there on. */
  readonly stallAfterBytes?: number
  readonly onClientFlags?: (flags: number) => void
  readonly onRequest?: (request: ScriptedRequest, socket: Socket, send: (reply: Buffer) => void) => void
}

export interface ScriptedServer extends AsyncDisposable {
  readonly endpoint: NbdEndpoint
  /** Connections so far. */
  readonly connectionCount: number
  /** Ends every connection, without a word. */
  cut(): void
}

/**
 * An NBD server on a unix socket that does what a test tells it, broken things above all. It negotiates as the
 * protocol says unless told otherwise, and leaves every answer to a request to the test.
 * @param script of all connections, or of the one with this index
 */
export async function startScriptedServer(
  script: ScriptedServerOptions | ((index: number) => ScriptedServerOptions),
): Promise<ScriptedServer> {
  const dir = await mkdtemp(join(tmpdir(), 'nbd-'))
  const path = join(dir, 's')
  const sockets = new Set<Socket>()
  let connectionCount = 0
  const server = createServer((socket) => {
    sockets.add(socket)
    const options = typeof script === 'function' ? script(connectionCount) : script
    connectionCount += 1
    new ScriptedConversation(socket, options).run().catch(() => socket.destroy())
  })
  server.listen(path)
  await once(server, 'listening')
  const cut = (): void => {
    for (const socket of sockets) socket.destroy()
    sockets.clear()
  }
  return {
    endpoint: { kind: 'nbd', address: { transport: 'unix', path }, exportName: 'disk' },
    get connectionCount() {
      return connectionCount
    },
    cut,
    [Symbol.asyncDispose]: async () => {
      cut()
      server.close()
      await rm(dir, { recursive: true, force: true })
    },
  }
}

class ScriptedConversation {
  readonly #options: ScriptedServerOptions
  #socket: Socket
  #input: HandshakeBuffer
  #style: ReplyStyle = 'simple'
  #sentBytes = 0

  constructor(socket: Socket, options: ScriptedServerOptions) {
    this.#options = options
    this.#socket = socket
    this.#input = this.#listenTo(socket)
  }

  async run(): Promise<void> {
    this.#send(this.#options.greeting ?? encodeGreeting())
    const flags = await this.#input.receive(4)
    this.#options.onClientFlags?.(flags.readUInt32BE(0))
    for (;;) {
      const header = await this.#input.receive(16)
      const option = header.readUInt32BE(8)
      const data = await this.#input.receive(header.readUInt32BE(12))
      const answer = this.#options.answerOption?.(option, data) ?? this.#answer(option)
      this.#send(answer)
      if (option === NBD_OPT_STARTTLS) this.#secure()
      if (option === NBD_OPT_ABORT) this.#socket.end()
      if (option === NBD_OPT_EXPORT_NAME || (option === NBD_OPT_GO && !isRefusal(answer))) break
    }
    await this.#transmit()
  }

  async #transmit(): Promise<void> {
    const isExtended = this.#style === 'extended'
    for (;;) {
      const request = decodeRequest(await this.#input.receive(requestHeaderBytes(isExtended)), isExtended)
      if (request.command === NBD_CMD_DISC) {
        this.#socket.end()
        return
      }
      const payload = await this.#input.receive(request.payloadBytes)
      this.#options.onRequest?.({ ...request, payload }, this.#socket, (reply) => this.#send(reply))
    }
  }

  #send(bytes: Buffer): void {
    const { vanishAfterBytes = Infinity, stallAfterBytes = Infinity } = this.#options
    const left = Math.min(vanishAfterBytes, stallAfterBytes) - this.#sentBytes
    this.#sentBytes += bytes.length
    if (left >= bytes.length) this.#socket.write(bytes)
    else if (vanishAfterBytes < stallAfterBytes)
      this.#socket.write(bytes.subarray(0, left), () => this.#socket.destroy())
    else if (left > 0) this.#socket.write(bytes.subarray(0, left))
  }

  #listenTo(socket: Socket): HandshakeBuffer {
    const input = new HandshakeBuffer((bytes) => socket.write(bytes))
    socket.on('error', () => socket.destroy())
    socket.on('data', (piece: Buffer) => input.push(piece))
    socket.on('close', () => input.fail(new Error('the client went away')))
    return input
  }

  #secure(): void {
    const { tls, insteadOfTls } = this.#options
    if (insteadOfTls !== undefined) this.#socket.once('data', () => this.#socket.write(insteadOfTls))
    if (tls === undefined) return
    this.#socket.removeAllListeners('data')
    const secureContext = createSecureContext({
      cert: tls.certificatePem,
      key: tls.keyPem,
      ...(tls.clientCaPem === undefined ? {} : { ca: tls.clientCaPem }),
    })
    const requestCert = tls.clientCaPem !== undefined
    this.#socket = new TLSSocket(this.#socket, { isServer: true, secureContext, requestCert })
    this.#input = this.#listenTo(this.#socket)
  }

  #answer(option: number): Buffer {
    const { replyStyle = 'structured', contexts = [], tls } = this.#options
    const agree = (style: ReplyStyle, isOffered: boolean): Buffer => {
      if (isOffered) this.#style = style
      return encodeOptionReply(option, isOffered ? NBD_REP_ACK : NBD_REP_ERR_UNSUP)
    }
    switch (option) {
      case NBD_OPT_EXTENDED_HEADERS:
        return agree('extended', replyStyle === 'extended')
      case NBD_OPT_STRUCTURED_REPLY:
        return agree('structured', replyStyle !== 'simple')
      case NBD_OPT_STARTTLS:
        return encodeOptionReply(option, tls === undefined ? NBD_REP_ERR_UNSUP : NBD_REP_ACK)
      case NBD_OPT_ABORT:
        return encodeOptionReply(option, NBD_REP_ACK)
      case NBD_OPT_SET_META_CONTEXT: {
        const named = contexts.map((name, index) => {
          return encodeOptionReply(option, NBD_REP_META_CONTEXT, encodeMetaContext(index + 1, name))
        })
        return Buffer.concat([...named, encodeOptionReply(option, NBD_REP_ACK)])
      }
      case NBD_OPT_GO:
      case NBD_OPT_INFO:
        return this.#describe(option)
      default:
        return encodeOptionReply(option, NBD_REP_ERR_UNSUP)
    }
  }

  #describe(option: number): Buffer {
    const { sizeBytes = 1024 * 1024, blockSizes } = this.#options
    const { flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_WRITE_ZEROES } = this.#options
    const infos = [encodeExportInfo({ sizeBytes, flags })]
    if (blockSizes !== undefined) {
      const [minimumBytes, preferredBytes, maximumBytes] = blockSizes
      infos.push(encodeBlockSizeInfo({ minimumBytes, preferredBytes, maximumBytes }))
    }
    const replies = infos.map((info) => encodeOptionReply(option, NBD_REP_INFO, info))
    return Buffer.concat([...replies, encodeOptionReply(option, NBD_REP_ACK)])
  }
}

/** Whether the first reply in these bytes is an error. */
function isRefusal(answer: Buffer): boolean {
  return answer.length >= OPTION_REPLY_HEADER_BYTES && answer.readUInt32BE(12) >= NBD_REP_FLAG_ERROR
}

/** One simple reply, with data where it answers a read. */
export function simpleReply(cookie: bigint, errorNumber: number, data: Buffer = Buffer.alloc(0)): Buffer {
  return Buffer.concat([u32(NBD_SIMPLE_REPLY_MAGIC), u32(errorNumber), u64(cookie), data])
}

/** One chunk of a structured reply. */
export function chunk(cookie: bigint, type: number, payload: Buffer, flags: number = NBD_REPLY_FLAG_DONE): Buffer {
  const head = [u32(NBD_STRUCTURED_REPLY_MAGIC), u16(flags), u16(type), u64(cookie), u32(payload.length)]
  return Buffer.concat([...head, payload])
}

/** One chunk of an extended reply. */
export function extendedChunk(
  { cookie, offsetBytes }: Pick<ScriptedRequest, 'cookie' | 'offsetBytes'>,
  type: number,
  payload: Buffer,
  flags: number = NBD_REPLY_FLAG_DONE,
): Buffer {
  const head = [u32(NBD_EXTENDED_REPLY_MAGIC), u16(flags), u16(type), u64(cookie), u64(BigInt(offsetBytes))]
  return Buffer.concat([...head, u64(BigInt(payload.length)), payload])
}

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(value)
  return bytes
}
