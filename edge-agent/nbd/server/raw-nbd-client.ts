import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import { decodeOptionReplyHeader, encodeOption, OPTION_REPLY_HEADER_BYTES } from '../wire/handshake-options.ts'
import {
  NBD_CMD_WRITE,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_EXTENDED_REPLY_MAGIC,
  NBD_EXTENDED_REQUEST_MAGIC,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_FLAG_ERROR,
  NBD_REPLY_FLAG_DONE,
  NBD_REQUEST_MAGIC,
  NBD_SIMPLE_REPLY_MAGIC,
} from '../wire/nbd-constants.ts'
import {
  decodeReplyHeader,
  EXTENDED_REPLY_BYTES,
  type ReplyStyle,
  SIMPLE_REPLY_BYTES,
  STRUCTURED_REPLY_BYTES,
} from '../wire/reply-header.ts'

const DEADLINE_MS = 10_000

export interface RawRequest {
  readonly command: number
  readonly flags?: number
  readonly cookie?: bigint
  readonly offset?: number | bigint
  /** Default: of the payload. */
  readonly length?: number | bigint
  readonly payload?: Uint8Array
}

export interface RawChunk {
  readonly kind: 'simple' | 'structured'
  readonly cookie: bigint
  /** Of a simple reply or of an error chunk; 0: none. */
  readonly errorNumber: number
  /** Of a chunk. */
  readonly type: number
  readonly isLast: boolean
  readonly payload: Buffer
}

/**
 * A client that sends whatever a test wants, right or wrong, and shows what came back. All waits have a deadline: a server
 * that hangs fails the test.
 */
export class RawNbdClient implements AsyncDisposable {
  style: ReplyStyle = 'simple'
  #socket: Socket
  #held = Buffer.alloc(0)
  #isOver = false
  #wake = Promise.withResolvers<void>()

  constructor(socket: Socket) {
    this.#socket = socket
    this.#listen(socket)
  }

  get socket(): Socket {
    return this.#socket
  }

  /** Connected, nothing received or sent. */
  static async connect(path: string): Promise<RawNbdClient> {
    const socket = connect(path)
    await once(socket, 'connect')
    return new RawNbdClient(socket)
  }

  /** Goes on inside TLS. Rejects as the TLS handshake does; a server may still refuse what it then knows. */
  async secure(options: ConnectionOptions): Promise<void> {
    const plain = this.#socket
    plain.removeAllListeners('data')
    const secured = connectTls({ socket: plain, ...options })
    this.#socket = secured
    await once(secured, 'secureConnect')
    this.#listen(secured)
  }

  /** Exactly so many bytes. Rejects when the server ends before, or sends too little in time. */
  async receive(lengthBytes: number): Promise<Buffer> {
    while (this.#held.length < lengthBytes) {
      if (this.#isOver) throw new Error(`the server ended ${lengthBytes - this.#held.length} bytes early`)
      await this.#waitForMore()
    }
    const bytes = this.#held.subarray(0, lengthBytes)
    this.#held = this.#held.subarray(lengthBytes)
    return bytes
  }

  /** Resolves with all that still comes when the server ends the connection. */
  async receiveToEnd(): Promise<Buffer> {
    while (!this.#isOver) await this.#waitForMore()
    return this.#held
  }

  send(...pieces: readonly Uint8Array[]): void {
    this.socket.write(Buffer.concat(pieces))
  }

  /** Receives the greeting and sends the client's flags. */
  async greet(clientFlags = 3): Promise<Buffer> {
    const greeting = await this.receive(18)
    const flags = Buffer.alloc(4)
    flags.writeUInt32BE(clientFlags)
    this.send(flags)
    return greeting
  }

  /** Sends an option and resolves with its replies up to the last. */
  async option(option: number, data: Buffer = Buffer.alloc(0)): Promise<{ type: number; payload: Buffer }[]> {
    this.send(encodeOption(option, data))
    return await this.optionReplies(option)
  }

  async optionReplies(option: number): Promise<{ type: number; payload: Buffer }[]> {
    const replies = []
    for (;;) {
      const { type, lengthBytes } = decodeOptionReplyHeader(await this.receive(OPTION_REPLY_HEADER_BYTES), option)
      replies.push({ type, payload: await this.receive(lengthBytes) })
      if (type === NBD_REP_ACK || type >= NBD_REP_FLAG_ERROR) return replies
    }
  }

  /** Goes into transmission on an export; resolves with its size and flags. */
  async go(
    exportName: string,
    { style = 'simple', contexts = [] }: { readonly style?: ReplyStyle; readonly contexts?: readonly string[] } = {},
  ): Promise<{ sizeBytes: number; flags: number }> {
    await this.greet()
    if (style === 'structured') await this.option(NBD_OPT_STRUCTURED_REPLY)
    if (style === 'extended') await this.option(NBD_OPT_EXTENDED_HEADERS)
    this.style = style
    if (contexts.length > 0) await this.option(NBD_OPT_SET_META_CONTEXT, metaContextData(exportName, contexts))
    const replies = await this.option(NBD_OPT_GO, infoData(exportName))
    const info = replies.find(({ payload }) => payload.length === 12)?.payload
    if (info === undefined) throw new Error(`export ${exportName} was refused with ${replies.at(-1)?.type}`)
    return { sizeBytes: Number(info.readBigUInt64BE(2)), flags: info.readUInt16BE(10) }
  }

  request(request: RawRequest): void {
    this.send(encodeRawRequest(this.style, request))
  }

  /** The next simple reply or chunk. Data of a simple reply must be received by the caller. */
  async reply(): Promise<RawChunk> {
    const magic = await this.receive(4)
    const isSimple = magic.readUInt32BE(0) === NBD_SIMPLE_REPLY_MAGIC
    const isExtended = magic.readUInt32BE(0) === NBD_EXTENDED_REPLY_MAGIC
    const headerBytes = isSimple ? SIMPLE_REPLY_BYTES : isExtended ? EXTENDED_REPLY_BYTES : STRUCTURED_REPLY_BYTES
    const bytes = Buffer.concat([magic, await this.receive(headerBytes - 4)])
    const cookie = bytes.readBigUInt64BE(8)
    const header = decodeReplyHeader(bytes)
    if (header.kind === 'simple') {
      return {
        kind: 'simple',
        cookie,
        errorNumber: header.errorNumber,
        type: 0,
        isLast: true,
        payload: Buffer.alloc(0),
      }
    }
    const payload = await this.receive(header.lengthBytes)
    const isLast = (header.flags & NBD_REPLY_FLAG_DONE) !== 0
    const errorNumber = header.type >= 2 ** 15 ? payload.readUInt32BE(0) : 0
    return { kind: 'structured', cookie, errorNumber, type: header.type, isLast, payload }
  }

  /** Sends a request and resolves with all chunks of its reply. */
  async ask(request: RawRequest): Promise<RawChunk[]> {
    this.request(request)
    const chunks: RawChunk[] = []
    do chunks.push(await this.reply())
    while (chunks.at(-1)?.isLast !== true)
    return chunks
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy()
  }

  #listen(socket: Socket): void {
    socket.on('data', (piece: Buffer) => {
      this.#held = Buffer.concat([this.#held, piece])
      this.#wake.resolve()
    })
    socket.on('error', () => undefined)
    socket.on('close', () => this.#onOver())
    socket.on('end', () => this.#onOver())
  }

  #onOver(): void {
    this.#isOver = true
    this.#wake.resolve()
  }

  async #waitForMore(): Promise<void> {
    this.#wake = Promise.withResolvers<void>()
    const late = setTimeout(() => this.#wake.reject(new Error('the server is silent')), DEADLINE_MS)
    try {
      await this.#wake.promise
    } finally {
      clearTimeout(late)
    }
  }
}

/** A request's bytes, in the form that was negotiated. */
export function encodeRawRequest(style: ReplyStyle, request: RawRequest): Buffer {
  const { command, cookie = 1n, offset = 0, payload = new Uint8Array(0) } = request
  const length = request.length ?? payload.length
  const isExtended = style === 'extended'
  const hasPayload = isExtended && (command === NBD_CMD_WRITE || payload.length > 0)
  const flags = request.flags ?? (hasPayload ? NBD_CMD_FLAG_PAYLOAD_LEN : 0)
  const header = Buffer.alloc(isExtended ? 32 : 28)
  header.writeUInt32BE(isExtended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC, 0)
  header.writeUInt16BE(flags, 4)
  header.writeUInt16BE(command, 6)
  header.writeBigUInt64BE(cookie, 8)
  header.writeBigUInt64BE(BigInt(offset), 16)
  if (isExtended) header.writeBigUInt64BE(BigInt(length), 24)
  else header.writeUInt32BE(Number(length), 24)
  return Buffer.concat([header, payload])
}

/** The data of NBD_OPT_GO and NBD_OPT_INFO. */
export function infoData(exportName: string, infos: readonly number[] = [3]): Buffer {
  const counted = [infos.length, ...infos].map((value) => u16(value))
  return Buffer.concat([text(exportName), ...counted])
}

/** The data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
export function metaContextData(exportName: string, queries: readonly string[]): Buffer {
  return Buffer.concat([text(exportName), u32(queries.length), ...queries.map(text)])
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8')
  return Buffer.concat([u32(bytes.length), bytes])
}
