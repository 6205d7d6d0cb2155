import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { NbdEndpoint } from '../../block/block-endpoint.ts'
import {
  IHAVEOPT,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_NO_ZEROES,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_EXPORT,
  NBD_MAGIC,
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_MAGIC,
  NBD_REP_META_CONTEXT,
  NBD_REPLY_FLAG_DONE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
} from '../wire/nbd-constants.ts'
import { HandshakeBuffer } from './handshake-buffer.ts'

/** One request as it arrived. */
export interface ScriptedRequest {
  readonly command: number
  readonly cookie: bigint
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** Of a WRITE. */
  readonly payload: Buffer
}

export interface ScriptedServerOptions {
  readonly sizeBytes?: number
  readonly flags?: number
  readonly structuredReplies?: boolean
  /** Named in the order of their ids, from 1 on, when the client asks for them. */
  readonly contexts?: readonly string[]
  readonly blockSizes?: readonly [minimum: number, preferred: number, maximum: number]
  readonly greeting?: Buffer
  /** Raw answer to an option, instead of the usual one. */
  readonly answerOption?: (option: number, data: Buffer) => Buffer | undefined
  readonly onRequest?: (request: ScriptedRequest, socket: Socket) => void
}

export interface ScriptedServer extends AsyncDisposable {
  readonly endpoint: NbdEndpoint
}

/**
 * An NBD server on a unix socket that does what a test tells it, broken things above all. It negotiates as the
 * protocol says unless told otherwise, and leaves every answer to a request to the test.
 */
export async function startScriptedServer(options: ScriptedServerOptions): Promise<ScriptedServer> {
  const dir = await mkdtemp(join(tmpdir(), 'nbd-'))
  const path = join(dir, 's')
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    const input = new HandshakeBuffer((bytes) => socket.write(bytes))
    socket.on('data', (piece: Buffer) => input.push(piece))
    socket.on('close', () => input.fail(new Error('the client went away')))
    serve(socket, input, options).catch(() => socket.destroy())
  })
  server.listen(path)
  await once(server, 'listening')
  return {
    endpoint: { kind: 'nbd', address: { transport: 'unix', path }, exportName: 'disk' },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await rm(dir, { recursive: true, force: true })
    },
  }
}

async function serve(socket: Socket, input: HandshakeBuffer, options: ScriptedServerOptions): Promise<void> {
  socket.write(options.greeting ?? greeting())
  await input.receive(4)
  for (;;) {
    const header = await input.receive(16)
    const option = header.readUInt32BE(8)
    const data = await input.receive(header.readUInt32BE(12))
    socket.write(options.answerOption?.(option, data) ?? answer(option, options))
    if (option === NBD_OPT_GO) break
  }
  for (;;) {
    const header = await input.receive(28)
    const command = header.readUInt16BE(6)
    const lengthBytes = header.readUInt32BE(24)
    const payload = command === 1 ? await input.receive(lengthBytes) : Buffer.alloc(0)
    const offsetBytes = Number(header.readBigUInt64BE(16))
    if (command === 2) {
      socket.end()
      return
    }
    options.onRequest?.({ command, cookie: header.readBigUInt64BE(8), offsetBytes, lengthBytes, payload }, socket)
  }
}

function greeting(): Buffer {
  const bytes = Buffer.alloc(18)
  bytes.writeBigUInt64BE(NBD_MAGIC, 0)
  bytes.writeBigUInt64BE(IHAVEOPT, 8)
  bytes.writeUInt16BE(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES, 16)
  return bytes
}

function answer(option: number, options: ScriptedServerOptions): Buffer {
  const { structuredReplies = true, contexts = [], sizeBytes = 1024 * 1024, blockSizes } = options
  const { flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_WRITE_ZEROES } = options
  if (option === NBD_OPT_STRUCTURED_REPLY)
    return optionReply(option, structuredReplies ? NBD_REP_ACK : NBD_REP_ERR_UNSUP)
  if (option === NBD_OPT_SET_META_CONTEXT) {
    const named = contexts.map((name, index) => {
      return optionReply(option, NBD_REP_META_CONTEXT, Buffer.concat([u32(index + 1), Buffer.from(name)]))
    })
    return Buffer.concat([...named, optionReply(option, NBD_REP_ACK)])
  }
  const exportInfo = Buffer.concat([u16(NBD_INFO_EXPORT), u64(BigInt(sizeBytes)), u16(flags)])
  const sizes = blockSizes === undefined ? [] : [Buffer.concat([u16(NBD_INFO_BLOCK_SIZE), ...blockSizes.map(u32)])]
  const infos = [exportInfo, ...sizes].map((info) => optionReply(option, NBD_REP_INFO, info))
  return Buffer.concat([...infos, optionReply(option, NBD_REP_ACK)])
}

/** One reply to an option. */
export function optionReply(option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer {
  return Buffer.concat([u64(NBD_REP_MAGIC), u32(option), u32(type), u32(data.length), data])
}

/** One simple reply, with data where it answers a read. */
export function simpleReply(cookie: bigint, errorNumber: number, data: Buffer = Buffer.alloc(0)): Buffer {
  return Buffer.concat([u32(NBD_SIMPLE_REPLY_MAGIC), u32(errorNumber), u64(cookie), data])
}

/** One chunk of a structured reply. */
export function chunk(cookie: bigint, type: number, payload: Buffer, flags: number = NBD_REPLY_FLAG_DONE): Buffer {
  return Buffer.concat([
    u32(NBD_STRUCTURED_REPLY_MAGIC),
    u16(flags),
    u16(type),
    u64(cookie),
    u32(payload.length),
    payload,
  ])
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
