import { decodeOptionReplyHeader } from '../wire/handshake-options.ts'
import {
  EXTENDED_REPLY_BYTES,
  type ReplyStyle,
  SIMPLE_REPLY_BYTES,
  STRUCTURED_REPLY_BYTES,
} from '../wire/reply-header.ts'

const IHAVEOPT = 'IHAVEOPT'
const OPTION_REPLY_BYTES = 20

/** A writable export of this size, with both contexts and without trim, as `judgeSession` expects it. */
export interface JudgedExport {
  readonly sizeBytes: number
}

/** What a session was worth. */
export interface Verdict {
  /** What the server said that it must not; undefined: nothing. */
  readonly wrong: string | undefined
  /** The client asked for at least one change that is allowed, or may have. */
  readonly mayChange: boolean
  /** Requests without a reply, as a connection leaves them that broke off. */
  readonly unanswered: number
}

interface Asked {
  readonly command: number
  readonly flags: number
  readonly cookie: bigint
  readonly offset: bigint
  readonly length: bigint
  readonly payload: Buffer | undefined
}

/**
 * Judges what a server answered to a session by a reading of the protocol of its own: every answer is whole and belongs to
 * a question, and nothing that is malformed is answered with success.
 * @param sent all that the client sent; @param heard all that the server sent, to the end of the connection
 */
export function judgeSession(sent: Buffer, heard: Buffer, served: JudgedExport): Verdict {
  const judge = new SessionJudge(sent, heard, served)
  try {
    judge.run()
    return { wrong: undefined, mayChange: judge.mayChange, unanswered: judge.unanswered }
  } catch (error) {
    const wrong = error instanceof Error ? error.message : String(error)
    return { wrong, mayChange: judge.mayChange, unanswered: judge.unanswered }
  }
}

class SessionJudge {
  mayChange = false
  unanswered = 0
  readonly #sent: Buffer
  readonly #heard: Buffer
  readonly #served: JudgedExport
  #sentAt = 0
  #heardAt = 0
  #style: ReplyStyle = 'simple'

  constructor(sent: Buffer, heard: Buffer, served: JudgedExport) {
    this.#sent = sent
    this.#heard = heard
    this.#served = served
  }

  run(): void {
    if (this.#heard.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT') throw new Error('no greeting')
    this.#heardAt = 18
    const flags = this.#take(4)
    const noZeroes = flags.length === 4 && (flags.readUInt8(3) & 2) !== 0
    while (this.#sentAt < this.#sent.length) {
      const entered = this.#judgeOption(noZeroes)
      if (entered === 'ended') break
      if (entered === 'transmission') {
        this.#judgeTransmission()
        break
      }
    }
    if (this.#heardAt !== this.#heard.length) throw new Error(`${this.#heard.length - this.#heardAt} bytes unasked`)
  }

  #judgeOption(noZeroes: boolean): 'haggling' | 'transmission' | 'ended' {
    const header = this.#take(16)
    if (header.length < 16 || header.toString('latin1', 0, 8) !== IHAVEOPT) return 'ended'
    const [option, lengthBytes] = [header.readUInt32BE(8), header.readUInt32BE(12)]
    const data = this.#take(lengthBytes)
    if (this.#heardAt === this.#heard.length) {
      // The connection broke off, and what was answered before is lost with it.
      this.mayChange = true
      return 'ended'
    }
    if (data.length < lengthBytes && lengthBytes <= 32_768) throw new Error('an answer to half an option')
    if (option === 1) {
      this.#hear(noZeroes ? 10 : 134)
      return 'transmission'
    }
    const last = this.#hearOptionReplies(option)
    if (last !== 1) return 'haggling'
    if (option === 8) this.#style = 'structured'
    if (option === 11) this.#style = 'extended'
    return option === 7 ? 'transmission' : option === 2 ? 'ended' : 'haggling'
  }

  #hearOptionReplies(option: number): number {
    for (;;) {
      const { type, lengthBytes } = decodeOptionReplyHeader(this.#hear(OPTION_REPLY_BYTES), option)
      this.#hear(lengthBytes)
      if (type === 1 || type >= 2 ** 31) return type
    }
  }

  #judgeTransmission(): void {
    const asked = this.#readRequests()
    this.mayChange = asked.some((one) => [1, 4, 6].includes(one.command) && !this.#isMalformed(one))
    this.unanswered = asked.length
    const open = new Map<bigint, Asked[]>()
    for (const one of asked) open.set(one.cookie, [...(open.get(one.cookie) ?? []), one])
    if (this.#style === 'simple' && asked.length !== open.size) {
      // Whose data follows cannot be told.
      this.#heardAt = this.#heard.length
      return
    }
    for (; this.#heardAt < this.#heard.length; this.unanswered -= 1) this.#judgeReply(open)
  }

  #readRequests(): Asked[] {
    const isExtended = this.#style === 'extended'
    const asked: Asked[] = []
    for (;;) {
      const header = this.#take(isExtended ? 32 : 28)
      const magic = isExtended ? 0x21e41c71 : 0x25609513
      if (header.length < (isExtended ? 32 : 28) || header.readUInt32BE(0) !== magic) return asked
      const [flags, command] = [header.readUInt16BE(4), header.readUInt16BE(6)]
      const length = isExtended ? header.readBigUInt64BE(24) : BigInt(header.readUInt32BE(24))
      const hasPayload = command === 1 || (isExtended && (flags & 32) !== 0)
      if (hasPayload && length > 2n ** 25n) return asked
      const payload = hasPayload ? this.#take(Number(length)) : undefined
      if (payload !== undefined && payload.length < Number(length)) return asked
      const one = {
        command,
        flags,
        cookie: header.readBigUInt64BE(8),
        offset: header.readBigUInt64BE(16),
        length,
        payload,
      }
      if (command === 2 && !this.#isMalformed(one)) return asked
      asked.push(one)
    }
  }

  /** One whole reply, of all its chunks; chunks of different replies do not mix here. */
  #judgeReply(open: Map<bigint, Asked[]>): void {
    const chunks: { type: number; payload: Buffer }[] = []
    let cookie: bigint
    let isLast: boolean
    let isSimple = false
    do {
      const magic = this.#heard.readUInt32BE(this.#heardAt)
      isSimple = magic === 0x67446698
      if (isSimple !== (this.#style === 'simple'))
        throw new Error(`a reply with magic ${magic} in ${this.#style} style`)
      const header = this.#hear(
        isSimple ? SIMPLE_REPLY_BYTES : this.#style === 'extended' ? EXTENDED_REPLY_BYTES : STRUCTURED_REPLY_BYTES,
      )
      cookie = header.readBigUInt64BE(8)
      if (isSimple) {
        this.#judgeSimple(open.get(cookie)?.[0], header.readUInt32BE(4))
        return
      }
      isLast = header.readUInt16BE(4) === 1
      const lengthBytes = this.#style === 'extended' ? Number(header.readBigUInt64BE(24)) : header.readUInt32BE(16)
      chunks.push({ type: header.readUInt16BE(6), payload: this.#hear(lengthBytes) })
    } while (!isLast)
    const candidates = open.get(cookie)
    if (candidates === undefined || candidates.length === 0) throw new Error(`a reply to cookie ${cookie}`)
    const failed = chunks.some(({ type }) => type >= 2 ** 15)
    // Of several questions with one cookie, an error answers a malformed one where there is any.
    const index = failed
      ? Math.max(
          0,
          candidates.findIndex((one) => this.#isMalformed(one)),
        )
      : candidates.findIndex((one) => !this.#isMalformed(one) && answers(one, chunks))
    if (index === -1) throw new Error(`success, or another answer than asked for, for cookie ${cookie}`)
    candidates.splice(index, 1)
  }

  #judgeSimple(one: Asked | undefined, errorNumber: number): void {
    if (one === undefined) throw new Error('a reply to nothing')
    if (errorNumber !== 0) return
    if (this.#isMalformed(one)) throw new Error(`success for ${JSON.stringify({ ...one, payload: undefined }, toText)}`)
    if (one.command === 0) this.#hear(Number(one.length))
  }

  /** Whether the protocol forbids to do it. */
  #isMalformed({ command, flags, offset, length, payload }: Asked): boolean {
    const isExtended = this.#style === 'extended'
    const size = BigInt(this.#served.sizeBytes)
    const allowedFlags = [this.#style === 'simple' ? 1 : 5, 1, 1, 1, 1, 1, 1 | 2 | 16, 1 | 8][command]
    if (allowedFlags === undefined || command === 4) return true
    const mayHavePayload = isExtended && (command === 1 || command === 7)
    const hasPayload = payload !== undefined && payload.length > 0
    if ((flags & ~(allowedFlags | (mayHavePayload && hasPayload ? 32 : 0))) !== 0) return true
    if (isExtended && command === 1 && !hasPayload) return true
    if (command === 3) return offset !== 0n || length !== 0n
    if (command === 2) return false
    if (command === 7 && this.#style === 'simple') return true
    if (command === 7 && hasPayload)
      return payload.length < 12 || payload.length % 4 !== 0 || offset + payload.readBigUInt64BE(0) > size
    return offset + length > size || (command === 7 && length === 0n)
  }

  #take(lengthBytes: number): Buffer {
    const bytes = this.#sent.subarray(this.#sentAt, this.#sentAt + lengthBytes)
    this.#sentAt += bytes.length
    return bytes
  }

  #hear(lengthBytes: number): Buffer {
    const bytes = this.#heard.subarray(this.#heardAt, this.#heardAt + lengthBytes)
    if (bytes.length < lengthBytes) throw new Error(`an answer that ends ${lengthBytes - bytes.length} bytes early`)
    this.#heardAt += lengthBytes
    return bytes
  }
}

/** Data and holes answer a read of as many bytes, block status a block status, nothing the rest. */
function answers({ command, length }: Asked, chunks: readonly { type: number; payload: Buffer }[]): boolean {
  if (command === 7) return chunks.every(({ type }) => type === 5 || type === 6)
  if (command !== 0 || length === 0n) return chunks.length === 1 && chunks[0]?.type === 0
  const told = chunks.reduce((sum, { type, payload }) => {
    return sum + (type === 1 ? payload.length - 8 : type === 2 ? payload.readUInt32BE(8) : Number.NaN)
  }, 0)
  return told === Number(length)
}

function toText(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value
}
