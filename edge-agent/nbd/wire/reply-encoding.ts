import type { StatusRun } from './block-status.ts'
import {
  NBD_EXTENDED_REPLY_MAGIC,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRING_BYTES_MAX,
  NBD_STRUCTURED_REPLY_MAGIC,
} from './nbd-constants.ts'
import { EXTENDED_REPLY_BYTES, type ReplyStyle, SIMPLE_REPLY_BYTES, STRUCTURED_REPLY_BYTES } from './reply-header.ts'
import { writeU64 } from './u64.ts'

/** What a reply repeats of the request it answers, to the last bit, whatever it was. */
export interface AnsweredRequest {
  readonly cookie: bigint
  readonly offset: bigint
}

/** Magic (u32), error (u32), cookie (u64); the data of a READ follows. */
export function encodeSimpleReply(cookie: bigint, errorNumber: number): Buffer {
  const header = Buffer.allocUnsafe(SIMPLE_REPLY_BYTES)
  header.writeUInt32BE(NBD_SIMPLE_REPLY_MAGIC, 0)
  header.writeUInt32BE(errorNumber, 4)
  header.writeBigUInt64BE(cookie, 8)
  return header
}

/** The chunk that says that a request without data was done. */
export function encodeNone(style: Exclude<ReplyStyle, 'simple'>, request: AnsweredRequest): Buffer {
  return chunk(style, request, { type: NBD_REPLY_TYPE_NONE, payloadBytes: 0, isLast: true }, 0).bytes
}

/** Header and offset (u64) of a chunk of data; `dataBytes` of data follow. */
export function encodeOffsetData(
  style: Exclude<ReplyStyle, 'simple'>,
  request: AnsweredRequest,
  data: { readonly offsetBytes: number; readonly lengthBytes: number; readonly isLast: boolean },
): Buffer {
  const facts = { type: NBD_REPLY_TYPE_OFFSET_DATA, payloadBytes: 8 + data.lengthBytes, isLast: data.isLast }
  const { bytes, payloadAt } = chunk(style, request, facts, 8)
  writeU64(bytes, data.offsetBytes, payloadAt)
  return bytes
}

/** A chunk that says that a range reads as zeros: offset (u64), length (u32). */
export function encodeOffsetHole(
  style: Exclude<ReplyStyle, 'simple'>,
  request: AnsweredRequest,
  hole: { readonly offsetBytes: number; readonly lengthBytes: number; readonly isLast: boolean },
): Buffer {
  const facts = { type: NBD_REPLY_TYPE_OFFSET_HOLE, payloadBytes: 12, isLast: hole.isLast }
  const { bytes, payloadAt } = chunk(style, request, facts, 12)
  writeU64(bytes, hole.offsetBytes, payloadAt)
  bytes.writeUInt32BE(hole.lengthBytes, payloadAt + 8)
  return bytes
}

/** An error chunk, the last of its reply: error (u32), length of the text (u16), the text cut to 4096 bytes. */
export function encodeError(
  style: Exclude<ReplyStyle, 'simple'>,
  request: AnsweredRequest,
  error: { readonly errorNumber: number; readonly text: string },
): Buffer {
  const text = cutText(error.text)
  const payloadBytes = 6 + text.length
  const facts = { type: NBD_REPLY_TYPE_ERROR, payloadBytes, isLast: true }
  const { bytes, payloadAt } = chunk(style, request, facts, payloadBytes)
  bytes.writeUInt32BE(error.errorNumber, payloadAt)
  bytes.writeUInt16BE(text.length, payloadAt + 4)
  text.copy(bytes, payloadAt + 6)
  return bytes
}

/**
 * One context's runs. Structured: context id (u32), then length (u32) and flags (u32) each. Extended: context id (u32),
 * count (u32), then length (u64) and flags (u64) each.
 */
export function encodeBlockStatus(
  style: Exclude<ReplyStyle, 'simple'>,
  request: AnsweredRequest,
  status: { readonly contextId: number; readonly runs: readonly StatusRun[]; readonly isLast: boolean },
): Buffer {
  const { contextId, runs, isLast } = status
  const isExtended = style === 'extended'
  const payloadBytes = isExtended ? 8 + runs.length * 16 : 4 + runs.length * 8
  const type = isExtended ? NBD_REPLY_TYPE_BLOCK_STATUS_EXT : NBD_REPLY_TYPE_BLOCK_STATUS
  const { bytes, payloadAt } = chunk(style, request, { type, payloadBytes, isLast }, payloadBytes)
  let at = bytes.writeUInt32BE(contextId, payloadAt)
  if (isExtended) at = bytes.writeUInt32BE(runs.length, at)
  for (const { lengthBytes, flags } of runs) {
    at = isExtended ? writeU64(bytes, lengthBytes, at) : bytes.writeUInt32BE(lengthBytes, at)
    at = isExtended ? writeU64(bytes, flags, at) : bytes.writeUInt32BE(flags, at)
  }
  return bytes
}

interface ChunkFacts {
  readonly type: number
  readonly payloadBytes: number
  readonly isLast: boolean
}

/**
 * Structured: magic (u32), flags (u16), type (u16), cookie (u64), length (u32). Extended: the same with the request's
 * offset (u64) before the length (u64).
 * @param roomBytes how much of the payload has room in the bytes returned
 */
function chunk(
  style: Exclude<ReplyStyle, 'simple'>,
  request: AnsweredRequest,
  { type, payloadBytes, isLast }: ChunkFacts,
  roomBytes: number,
): { readonly bytes: Buffer; readonly payloadAt: number } {
  const isExtended = style === 'extended'
  const payloadAt = isExtended ? EXTENDED_REPLY_BYTES : STRUCTURED_REPLY_BYTES
  const bytes = Buffer.allocUnsafe(payloadAt + roomBytes)
  bytes.writeUInt32BE(isExtended ? NBD_EXTENDED_REPLY_MAGIC : NBD_STRUCTURED_REPLY_MAGIC, 0)
  bytes.writeUInt16BE(isLast ? NBD_REPLY_FLAG_DONE : 0, 4)
  bytes.writeUInt16BE(type, 6)
  bytes.writeBigUInt64BE(request.cookie, 8)
  if (isExtended) {
    bytes.writeBigUInt64BE(request.offset, 16)
    writeU64(bytes, payloadBytes, 24)
  } else {
    bytes.writeUInt32BE(payloadBytes, 16)
  }
  return { bytes, payloadAt }
}

/** At most 4096 bytes of UTF-8, no character cut in two. */
export function cutText(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8')
  if (bytes.length <= NBD_STRING_BYTES_MAX) return bytes
  let end = NBD_STRING_BYTES_MAX
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1
  return bytes.subarray(0, end)
}
