import assert from 'node:assert/strict'
import { BLOCK_STATUS_BYTES_MAX } from '../wire/block-status.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_READ,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_ERROR_BIT,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
} from '../wire/nbd-constants.ts'
import { protocolViolation, replyError } from '../wire/nbd-errors.ts'
import {
  decodeReplyHeader,
  longestHeaderBytes,
  replyHeaderBytes,
  type ReplyStyle,
  type StructuredReply,
} from '../wire/reply-header.ts'
import { nameOfCommand } from '../wire/requests.ts'
import { readU64 } from '../wire/u64.ts'
import type { PendingRequest } from './pending-request.ts'
import { applyChunk, ERROR_PAYLOAD_BYTES_MAX, expectWholeAnswer } from './structured-replies.ts'

const OFFSET_BYTES = 8
const SMALL_PAYLOAD_BYTES_MAX = 64
/** What nobody waits for any more is received into, over and over. */
const DISCARD_BYTES = 64 * 1024

export interface ReplyParserOptions {
  readonly replyStyle: ReplyStyle
  /** The request with that cookie, undefined when none is in flight. */
  readonly find: (cookie: number) => PendingRequest | undefined
  /** Called once a request, when its reply is complete; `failure` says how it ended. */
  readonly onDone: (request: PendingRequest) => void
}

/** header: of a reply · payload: a small one, gathered whole · data: of a read, straight to the caller's buffer */
type State = 'header' | 'payload' | 'data'

/**
 * Takes the bytes of a connection in transmission, in pieces of any size, and completes the requests they answer.
 * A plain state machine: nothing is allocated or awaited for a piece. Who receives into what `room` returns has the
 * data of reads where their callers want it without a copy; who has a piece already gives it to `consume`.
 */
export class ReplyParser {
  readonly #options: ReplyParserOptions
  readonly #header: Buffer
  /** Has room for what precedes the data of a read, which arrives with one system call then, and no data with it. */
  readonly #scratch: Buffer
  #discard: Buffer | undefined
  #state: State = 'header'
  /** Bytes gathered of the present header or payload, and how many it has. */
  #gatheredBytes = 0
  #neededBytes = 4
  #payload = Buffer.alloc(0)
  #request: PendingRequest | undefined
  #chunk: StructuredReply | undefined
  /** Where the next data byte belongs in the request's buffer, and how many are to come. */
  #dataAt = 0
  #dataLeftBytes = 0

  constructor(options: ReplyParserOptions) {
    this.#options = options
    const headerBytes = longestHeaderBytes[options.replyStyle]
    this.#header = Buffer.alloc(headerBytes)
    this.#scratch = Buffer.alloc(headerBytes + (options.replyStyle === 'simple' ? 0 : OFFSET_BYTES))
  }

  /** Where the next bytes of the connection go, at least one; valid until the next call of this object. */
  room(): Uint8Array {
    if (this.#state === 'header') return this.#scratch
    if (this.#state === 'payload') return this.#payload.subarray(this.#gatheredBytes)
    const request = this.#expectRequest()
    if (request.isAbandoned) request.releaseBuffers()
    if (request.into !== undefined) return request.into.subarray(this.#dataAt, this.#dataAt + this.#dataLeftBytes)
    this.#discard ??= Buffer.allocUnsafeSlow(DISCARD_BYTES)
    return this.#discard.subarray(0, this.#dataLeftBytes)
  }

  /**
   * The first `lengthBytes` of what `room` returned last were received.
   * @throws PlatformError `nbd.protocol_violation`; the parser is of no more use then
   */
  filled(lengthBytes: number): void {
    if (this.#state === 'header') this.consume(this.#scratch.subarray(0, lengthBytes))
    else if (this.#state === 'payload') this.#payloadGrew(lengthBytes)
    else this.#dataGrew(lengthBytes)
  }

  /**
   * @param piece only valid during the call
   * @throws PlatformError `nbd.protocol_violation`; the parser is of no more use then
   */
  consume(piece: Buffer): void {
    let at = 0
    while (at < piece.length) {
      if (this.#state === 'header') {
        at += this.#gatherHeader(piece, at)
        continue
      }
      const room = this.room()
      const takenBytes = Math.min(piece.length - at, room.length)
      room.set(piece.subarray(at, at + takenBytes))
      this.filled(takenBytes)
      at += takenBytes
    }
  }

  #dataGrew(lengthBytes: number): void {
    this.#dataAt += lengthBytes
    this.#dataLeftBytes -= lengthBytes
    if (this.#dataLeftBytes > 0) return
    this.#expectRequest().releaseBuffers()
    this.#endOfReply()
  }

  #payloadGrew(lengthBytes: number): void {
    this.#gatheredBytes += lengthBytes
    if (this.#gatheredBytes === this.#neededBytes) this.#endOfPayload()
  }

  /** Moves bytes into the header and goes on when it is whole. */
  #gatherHeader(piece: Buffer, at: number): number {
    const takenBytes = Math.min(piece.length - at, this.#neededBytes - this.#gatheredBytes)
    piece.copy(this.#header, this.#gatheredBytes, at, at + takenBytes)
    this.#gatheredBytes += takenBytes
    if (this.#gatheredBytes < this.#neededBytes) return takenBytes
    if (this.#neededBytes > 4) this.#endOfHeader()
    else this.#neededBytes = replyHeaderBytes(this.#header.readUInt32BE(0), this.#options.replyStyle)
    return takenBytes
  }

  #endOfHeader(): void {
    const reply = decodeReplyHeader(this.#header)
    const request = this.#options.find(reply.cookie)
    if (request === undefined) throw protocolViolation(`a reply to unknown cookie ${reply.cookie}`)
    this.#request = request
    if (reply.kind === 'structured') {
      this.#beginChunk(request, reply)
      return
    }
    this.#chunk = undefined
    this.#beginSimple(request, reply.errorNumber)
  }

  /** With structured replies a read may only fail this way: its data never comes unframed. */
  #beginSimple(request: PendingRequest, errorNumber: number): void {
    const name = nameOfCommand(request.command)
    if (errorNumber !== 0) {
      request.failure ??= replyError(errorNumber, name, request, '')
      this.#endOfReply()
      return
    }
    const hasData = request.command === NBD_CMD_READ || request.command === NBD_CMD_BLOCK_STATUS
    if (hasData && this.#options.replyStyle !== 'simple') throw protocolViolation(`a simple reply to a ${name}`)
    if (request.command !== NBD_CMD_READ) {
      this.#endOfReply()
      return
    }
    this.#beginData(0, request.lengthBytes)
  }

  #beginChunk(request: PendingRequest, chunk: StructuredReply): void {
    if (chunk.offsetBytes !== undefined && chunk.offsetBytes !== request.offsetBytes) {
      throw protocolViolation(`a reply for byte ${chunk.offsetBytes} answers a request for byte ${request.offsetBytes}`)
    }
    if (chunk.type === NBD_REPLY_TYPE_NONE && (chunk.flags & NBD_REPLY_FLAG_DONE) === 0) {
      throw protocolViolation('a chunk of type none that is not the last one')
    }
    this.#chunk = chunk
    const isData = chunk.type === NBD_REPLY_TYPE_OFFSET_DATA
    if (isData && (request.command !== NBD_CMD_READ || chunk.lengthBytes <= OFFSET_BYTES)) {
      throw protocolViolation(`data of ${chunk.lengthBytes} bytes answers a ${nameOfCommand(request.command)}`)
    }
    if (!isData && chunk.lengthBytes > payloadBytesMax(chunk.type)) {
      throw protocolViolation(`a chunk of type ${chunk.type} with ${chunk.lengthBytes} bytes`)
    }
    this.#state = 'payload'
    this.#gatheredBytes = 0
    this.#neededBytes = isData ? OFFSET_BYTES : chunk.lengthBytes
    this.#payload = Buffer.allocUnsafe(this.#neededBytes)
    if (this.#neededBytes === 0) this.#endOfPayload()
  }

  #endOfPayload(): void {
    const request = this.#expectRequest()
    assert(this.#chunk !== undefined)
    if (this.#chunk.type !== NBD_REPLY_TYPE_OFFSET_DATA) {
      applyChunk(request, this.#chunk.type, this.#payload, this.#options.replyStyle)
      this.#endOfReply()
      return
    }
    const lengthBytes = this.#chunk.lengthBytes - OFFSET_BYTES
    const start = readU64(this.#payload, 0) - request.offsetBytes
    request.coverage?.add(start, start + lengthBytes)
    this.#beginData(start, lengthBytes)
  }

  #beginData(at: number, lengthBytes: number): void {
    this.#state = 'data'
    this.#dataAt = at
    this.#dataLeftBytes = lengthBytes
    this.#expectRequest().holdBuffers()
  }

  /** Of one simple reply or one chunk. */
  #endOfReply(): void {
    const request = this.#expectRequest()
    const isLast = this.#chunk === undefined || (this.#chunk.flags & NBD_REPLY_FLAG_DONE) !== 0
    this.#state = 'header'
    this.#gatheredBytes = 0
    this.#neededBytes = 4
    this.#request = undefined
    this.#chunk = undefined
    if (!isLast) return
    if (request.failure === undefined) expectWholeAnswer(request)
    this.#options.onDone(request)
  }

  #expectRequest(): PendingRequest {
    assert(this.#request !== undefined, 'a payload belongs to a request')
    return this.#request
  }
}

function payloadBytesMax(type: number): number {
  if ((type & NBD_REPLY_TYPE_ERROR_BIT) !== 0) return ERROR_PAYLOAD_BYTES_MAX
  const isStatus = type === NBD_REPLY_TYPE_BLOCK_STATUS || type === NBD_REPLY_TYPE_BLOCK_STATUS_EXT
  return isStatus ? BLOCK_STATUS_BYTES_MAX : SMALL_PAYLOAD_BYTES_MAX
}
