import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_READ,
  type NbdCommand,
} from '../wire/nbd-constants.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'

/** A request that waits for its reply. */
export interface JudgedRequest {
  readonly cookie: number
  readonly command: NbdCommand
  readonly commandFlags: number
  readonly offsetBytes: number
  readonly lengthBytes: number
}

export interface Verdict {
  /** Cookies, in the order their replies were complete. */
  readonly done: number[]
  /** NBD errors of those that failed, by cookie. */
  readonly errors: Map<number, number>
  /** What arrived of reads, by cookie; zeros elsewhere. */
  readonly data: Map<number, Buffer>
  /** The protocol forbids what came. */
  broken: boolean
}

interface State {
  readonly asked: JudgedRequest
  readonly covered: Uint8Array
  readonly contexts: Set<number>
  contentChunks: number
}

const HEADER_BYTES = { simple: 16, structured: 20, extended: 32 } as const
const MAGICS = { simple: 0x67446698, structured: 0x668e33ef, extended: 0x6e8a278c } as const

/** Thrown where the bytes end in the middle of something. */
class EndOfBytes extends Error {}
class Broken extends Error {}

/**
 * What a whole stream of replies means, told by a second reading of the protocol that shares no code with the client's
 * parser: slow, and all at once. Streams of up to a few KiB.
 */
export function judgeReplies(
  stream: Buffer,
  style: ReplyStyle,
  requests: readonly JudgedRequest[],
  contextIds: readonly number[],
): Verdict {
  const judge = new ReplyJudge(stream, style, requests, contextIds)
  try {
    for (;;) judge.takeReply()
  } catch (error) {
    if (error instanceof Broken) judge.verdict.broken = true
    else if (!(error instanceof EndOfBytes)) throw error
  }
  return judge.verdict
}

class ReplyJudge {
  readonly verdict: Verdict = { done: [], errors: new Map(), data: new Map(), broken: false }
  readonly #stream: Buffer
  readonly #style: ReplyStyle
  readonly #contextIds: readonly number[]
  readonly #open = new Map<bigint, State>()
  #at = 0

  constructor(stream: Buffer, style: ReplyStyle, requests: readonly JudgedRequest[], contextIds: readonly number[]) {
    this.#stream = stream
    this.#style = style
    this.#contextIds = contextIds
    for (const asked of requests) {
      const covered = new Uint8Array(asked.lengthBytes)
      this.#open.set(BigInt(asked.cookie), { asked, covered, contexts: new Set(), contentChunks: 0 })
      if (asked.command === NBD_CMD_READ) this.verdict.data.set(asked.cookie, Buffer.alloc(asked.lengthBytes))
    }
  }

  takeReply(): void {
    const start = this.#at
    const magic = this.#take(4).readUInt32BE()
    const isSimple = magic === MAGICS.simple && this.#style !== 'extended'
    if (!isSimple && (this.#style === 'simple' || magic !== MAGICS[this.#style])) throw new Broken()
    this.#at = start
    const header = this.#take(HEADER_BYTES[isSimple ? 'simple' : this.#style])
    const state = this.#open.get(header.readBigUInt64BE(8))
    if (state === undefined) throw new Broken()
    if (isSimple) this.#takeSimple(state, header.readUInt32BE(4))
    else this.#takeChunk(state, header)
  }

  #takeSimple(state: State, errorNumber: number): void {
    const { command, lengthBytes } = state.asked
    if (errorNumber !== 0) {
      this.#fail(state, errorNumber)
    } else if (this.#style !== 'simple') {
      if (command === NBD_CMD_READ || command === NBD_CMD_BLOCK_STATUS) throw new Broken()
    } else if (command === NBD_CMD_READ) {
      this.#takeData(state, 0, lengthBytes)
    }
    this.#finish(state)
  }

  #takeChunk(state: State, header: Buffer): void {
    const isExtended = this.#style === 'extended'
    const [flags, type] = [header.readUInt16BE(4), header.readUInt16BE(6)]
    const length = isExtended ? header.readBigUInt64BE(24) : BigInt(header.readUInt32BE(16))
    const isLast = (flags & 1) !== 0
    if (isExtended && header.readBigUInt64BE(16) !== BigInt(state.asked.offsetBytes)) throw new Broken()
    if (type === 0 && !isLast) throw new Broken()
    if (type === 1) this.#takeOffsetData(state, length)
    else this.#applyPayload(state, type, this.#takePayload(type, length))
    if (isLast) this.#finish(state)
  }

  #takePayload(type: number, length: bigint): Buffer {
    const limit = type >= 2 ** 15 ? 65_536 : type === 5 || type === 6 ? 2 ** 24 + 8 : 64
    if (length > BigInt(limit)) throw new Broken()
    return this.#take(Number(length))
  }

  #takeOffsetData(state: State, length: bigint): void {
    if (state.asked.command !== NBD_CMD_READ || length <= 8n) throw new Broken()
    const start = this.#take(8).readBigUInt64BE() - BigInt(state.asked.offsetBytes)
    this.#cover(state, start, start + length - 8n)
    this.#takeData(state, Number(start), Number(length - 8n))
  }

  #takeData({ asked }: State, start: number, lengthBytes: number): void {
    const there = Math.min(lengthBytes, this.#stream.length - this.#at)
    this.#stream.copy(this.verdict.data.get(asked.cookie) ?? Buffer.alloc(0), start, this.#at, this.#at + there)
    this.#take(lengthBytes)
  }

  #applyPayload(state: State, type: number, payload: Buffer): void {
    if (type >= 2 ** 15) this.#applyError(state, type, payload)
    else if (type === 2) this.#applyHole(state, payload)
    else if (type === (this.#style === 'extended' ? 6 : 5)) this.#applyStatus(state, payload)
    else if (type !== 0 || payload.length > 0) throw new Broken()
  }

  #applyHole(state: State, payload: Buffer): void {
    if (state.asked.command !== NBD_CMD_READ || payload.length !== 12) throw new Broken()
    const start = payload.readBigUInt64BE() - BigInt(state.asked.offsetBytes)
    this.#cover(state, start, start + BigInt(payload.readUInt32BE(8)))
  }

  #applyStatus(state: State, payload: Buffer): void {
    const { command, commandFlags, lengthBytes } = state.asked
    const [head, each] = this.#style === 'extended' ? [8, 16] : [4, 8]
    const count = (payload.length - head) / each
    if (command !== NBD_CMD_BLOCK_STATUS || !Number.isInteger(count) || count < 1) throw new Broken()
    if (this.#style === 'extended' && payload.readUInt32BE(4) !== count) throw new Broken()
    const id = payload.readUInt32BE()
    if (!this.#contextIds.includes(id) || state.contexts.has(id)) throw new Broken()
    let sum = 0n
    for (let index = 0; index < count; index += 1) {
      const at = head + index * each
      const length = each === 16 ? payload.readBigUInt64BE(at) : BigInt(payload.readUInt32BE(at))
      if (length === 0n || (each === 16 && payload.readUInt32BE(at + 8) !== 0)) throw new Broken()
      if (sum >= BigInt(lengthBytes)) throw new Broken()
      sum += length
    }
    const isOne = (commandFlags & NBD_CMD_FLAG_REQ_ONE) !== 0
    if (isOne && (count > 1 || sum > BigInt(lengthBytes))) throw new Broken()
    state.contexts.add(id)
  }

  #applyError(state: State, type: number, payload: Buffer): void {
    if (this.verdict.errors.has(state.asked.cookie)) return
    if (payload.length < 6) throw new Broken()
    const [errorNumber, textBytes] = [payload.readUInt32BE(0), payload.readUInt16BE(4)]
    const hasOffset = type === 2 ** 15 + 2
    if (errorNumber === 0 || textBytes > 4096 || payload.length < 6 + textBytes + (hasOffset ? 8 : 0))
      throw new Broken()
    const first = BigInt(state.asked.offsetBytes)
    const at = hasOffset ? payload.readBigUInt64BE(6 + textBytes) : first
    if (hasOffset && (at < first || at >= first + BigInt(state.asked.lengthBytes))) throw new Broken()
    this.#fail(state, errorNumber)
  }

  #cover(state: State, start: bigint, end: bigint): void {
    if (start < 0n || start >= end || end > BigInt(state.asked.lengthBytes)) throw new Broken()
    state.contentChunks += 1
    if ((state.asked.commandFlags & NBD_CMD_FLAG_DF) !== 0 && state.contentChunks > 1) throw new Broken()
    const range = state.covered.subarray(Number(start), Number(end))
    if (range.includes(1)) throw new Broken()
    range.fill(1)
  }

  #fail({ asked }: State, errorNumber: number): void {
    if (!this.verdict.errors.has(asked.cookie)) this.verdict.errors.set(asked.cookie, errorNumber)
  }

  #finish({ asked, covered, contexts }: State): void {
    if (!this.verdict.errors.has(asked.cookie) && this.#style !== 'simple') {
      if (asked.command === NBD_CMD_READ && covered.includes(0)) throw new Broken()
      const isStatus = asked.command === NBD_CMD_BLOCK_STATUS
      if (isStatus && !this.#contextIds.every((id) => contexts.has(id))) throw new Broken()
    }
    this.#open.delete(BigInt(asked.cookie))
    this.verdict.done.push(asked.cookie)
  }

  #take(lengthBytes: number): Buffer {
    const end = this.#at + lengthBytes
    if (end > this.#stream.length) throw new EndOfBytes()
    const bytes = this.#stream.subarray(this.#at, end)
    this.#at = end
    return bytes
  }
}
