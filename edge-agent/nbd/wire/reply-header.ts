import { NBD_EXTENDED_REPLY_MAGIC, NBD_SIMPLE_REPLY_MAGIC, NBD_STRUCTURED_REPLY_MAGIC } from './nbd-constants.ts'
import { protocolViolation } from './nbd-errors.ts'
import { readU64 } from './u64.ts'

export const SIMPLE_REPLY_BYTES = 16
export const STRUCTURED_REPLY_BYTES = 20
export const EXTENDED_REPLY_BYTES = 32

/** How a connection answers: negotiated once, in the handshake. */
export type ReplyStyle = 'simple' | 'structured' | 'extended'

export interface SimpleReply {
  readonly kind: 'simple'
  readonly errorNumber: number
  readonly cookie: number
}

export interface StructuredReply {
  readonly kind: 'structured'
  readonly flags: number
  readonly type: number
  readonly cookie: number
  /** Extended only: must be that of the request. */
  readonly offsetBytes?: number
  /** Of the payload that follows. */
  readonly lengthBytes: number
}

/** Length of the longest header that a connection of this style receives. */
export const longestHeaderBytes: Readonly<Record<ReplyStyle, number>> = {
  simple: SIMPLE_REPLY_BYTES,
  structured: STRUCTURED_REPLY_BYTES,
  extended: EXTENDED_REPLY_BYTES,
}

/**
 * Length of the header that begins with these four bytes.
 * @throws PlatformError `nbd.protocol_violation` on a magic that the style does not have: structured also has simple replies
 */
export function replyHeaderBytes(magic: number, style: ReplyStyle): number {
  if (magic === NBD_SIMPLE_REPLY_MAGIC && style !== 'extended') return SIMPLE_REPLY_BYTES
  if (magic === NBD_STRUCTURED_REPLY_MAGIC && style === 'structured') return STRUCTURED_REPLY_BYTES
  if (magic === NBD_EXTENDED_REPLY_MAGIC && style === 'extended') return EXTENDED_REPLY_BYTES
  throw protocolViolation(`reply with magic 0x${magic.toString(16)}`)
}

/**
 * Simple: magic (u32), error (u32), cookie (u64). Structured: magic (u32), flags (u16), type (u16), cookie (u64), length
 * (u32). Extended: the same with offset (u64) and length (u64) behind the cookie.
 * @param bytes as many as `replyHeaderBytes` says
 */
export function decodeReplyHeader(bytes: Buffer): SimpleReply | StructuredReply {
  const cookie = readU64(bytes, 8)
  const magic = bytes.readUInt32BE(0)
  if (magic === NBD_SIMPLE_REPLY_MAGIC) {
    return { kind: 'simple', errorNumber: bytes.readUInt32BE(4), cookie }
  }
  const flags = bytes.readUInt16BE(4)
  const type = bytes.readUInt16BE(6)
  if (magic === NBD_EXTENDED_REPLY_MAGIC) {
    return { kind: 'structured', flags, type, cookie, offsetBytes: readU64(bytes, 16), lengthBytes: readU64(bytes, 24) }
  }
  return { kind: 'structured', flags, type, cookie, lengthBytes: bytes.readUInt32BE(16) }
}
