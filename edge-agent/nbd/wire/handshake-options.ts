import { isUtf8 } from 'node:buffer'
import {
  IHAVEOPT,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_EXPORT,
  NBD_INFO_NAME,
  NBD_OPT_GO,
  type NBD_OPT_INFO,
  type NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_REP_MAGIC,
  NBD_STRING_BYTES_MAX,
} from './nbd-constants.ts'
import { protocolViolation } from './nbd-errors.ts'

export const OPTION_HEADER_BYTES = 16
export const OPTION_REPLY_HEADER_BYTES = 20
/** No reply to an option we send is longer: a context or an error with one string. */
export const OPTION_REPLY_BYTES_MAX = 64 * 1024

/** One option request: IHAVEOPT (u64), option (u32), length (u32), data. */
export function encodeOption(option: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(OPTION_HEADER_BYTES)
  header.writeBigUInt64BE(IHAVEOPT, 0)
  header.writeUInt32BE(option, 8)
  header.writeUInt32BE(data.length, 12)
  return Buffer.concat([header, data])
}

/** NBD_OPT_GO for an export; asks for its block sizes, which also says that we keep to them. */
export function encodeGo(exportName: string): Buffer {
  return encodeInfoOption(NBD_OPT_GO, exportName, [NBD_INFO_BLOCK_SIZE])
}

/** Export name, count (u16), then the kinds of information asked for (u16 each), none of them twice. */
export function encodeInfoOption(
  option: typeof NBD_OPT_GO | typeof NBD_OPT_INFO,
  exportName: string,
  kinds: readonly number[],
): Buffer {
  const infos = Buffer.alloc(2 + 2 * kinds.length)
  infos.writeUInt16BE(kinds.length, 0)
  for (const [index, kind] of kinds.entries()) infos.writeUInt16BE(kind, 2 + 2 * index)
  return encodeOption(option, Buffer.concat([encodeString(exportName), infos]))
}

/** Export name, count (u32), then the queries: names of contexts, to LIST also `base:` and alike. None lists all. */
export function encodeMetaContextOption(
  option: typeof NBD_OPT_SET_META_CONTEXT | typeof NBD_OPT_LIST_META_CONTEXT,
  exportName: string,
  queries: readonly string[],
): Buffer {
  const count = Buffer.alloc(4)
  count.writeUInt32BE(queries.length, 0)
  return encodeOption(option, Buffer.concat([encodeString(exportName), count, ...queries.map(encodeString)]))
}

/** NBD_OPT_SET_META_CONTEXT for the names given. */
export function encodeSetMetaContext(exportName: string, contexts: readonly string[]): Buffer {
  return encodeMetaContextOption(NBD_OPT_SET_META_CONTEXT, exportName, contexts)
}

function encodeString(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8')
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length, 0)
  return Buffer.concat([length, bytes])
}

export interface OptionReplyHeader {
  readonly option: number
  readonly type: number
  readonly lengthBytes: number
}

/**
 * Decodes magic (u64), option (u32), reply type (u32), length (u32).
 * @throws PlatformError `nbd.protocol_violation` on a wrong magic, another option or an overlong reply
 */
export function decodeOptionReplyHeader(bytes: Buffer, expectedOption: number): OptionReplyHeader {
  const magic = bytes.readBigUInt64BE(0)
  if (magic !== NBD_REP_MAGIC) throw protocolViolation(`option reply with magic 0x${magic.toString(16)}`)
  const option = bytes.readUInt32BE(8)
  if (option !== expectedOption) throw protocolViolation(`reply to option ${option} instead of ${expectedOption}`)
  const lengthBytes = bytes.readUInt32BE(16)
  if (lengthBytes > OPTION_REPLY_BYTES_MAX) throw protocolViolation(`option reply of ${lengthBytes} bytes`)
  return { option, type: bytes.readUInt32BE(12), lengthBytes }
}

export interface ExportInfo {
  readonly sizeBytes: number
  /** NBD_FLAG_*. */
  readonly flags: number
}

export interface BlockSizes {
  readonly minimumBytes: number
  readonly preferredBytes: number
  /** Of one request's payload. */
  readonly maximumBytes: number
}

export type NbdInfo =
  | ({ readonly kind: 'export' } & ExportInfo)
  | ({ readonly kind: 'block-size' } & BlockSizes)
  | { readonly kind: 'name' | 'description'; readonly text: string }
  | { readonly kind: 'other' }

/**
 * Decodes one NBD_REP_INFO payload: type (u16), then by type. Unknown types are `other`, as the protocol asks.
 * @throws PlatformError `nbd.protocol_violation` on wrong lengths or impossible sizes
 */
export function decodeInfo(payload: Buffer): NbdInfo {
  if (payload.length < 2) throw protocolViolation(`information of ${payload.length} bytes`)
  const type = payload.readUInt16BE(0)
  if (type === NBD_INFO_EXPORT) return decodeExportInfo(payload)
  if (type === NBD_INFO_BLOCK_SIZE) return decodeBlockSizes(payload)
  if (type === NBD_INFO_NAME) return { kind: 'name', text: decodeString(payload.subarray(2)) }
  if (type === NBD_INFO_DESCRIPTION) return { kind: 'description', text: decodeString(payload.subarray(2)) }
  return { kind: 'other' }
}

function decodeExportInfo(payload: Buffer): NbdInfo {
  if (payload.length !== 12) throw protocolViolation(`NBD_INFO_EXPORT of ${payload.length} bytes`)
  return { kind: 'export', ...decodeExportFacts(payload.subarray(2)) }
}

/**
 * Decodes size (u64) and transmission flags (u16).
 * @throws PlatformError `nbd.protocol_violation` on a size that is no safe integer
 */
export function decodeExportFacts(bytes: Buffer): ExportInfo {
  const size = bytes.readBigUInt64BE(0)
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw protocolViolation(`an export of ${size} bytes`)
  return { sizeBytes: Number(size), flags: bytes.readUInt16BE(8) }
}

/** Minimum: a power of two up to 64 KiB; maximum: at least the preferred (NBD proto.md, "Block size constraints"). */
function decodeBlockSizes(payload: Buffer): NbdInfo {
  if (payload.length !== 14) throw protocolViolation(`NBD_INFO_BLOCK_SIZE of ${payload.length} bytes`)
  const minimumBytes = payload.readUInt32BE(2)
  const preferredBytes = payload.readUInt32BE(6)
  const maximumBytes = payload.readUInt32BE(10)
  const isPower = minimumBytes > 0 && (minimumBytes & (minimumBytes - 1)) === 0
  if (!isPower || minimumBytes > 65_536 || preferredBytes < minimumBytes || maximumBytes < minimumBytes) {
    throw protocolViolation(`block sizes ${minimumBytes}, ${preferredBytes}, ${maximumBytes}`)
  }
  return { kind: 'block-size', minimumBytes, preferredBytes, maximumBytes }
}

/**
 * Decodes one NBD_REP_META_CONTEXT payload: id (u32), then the context's name.
 * @throws PlatformError `nbd.protocol_violation` when the name is missing or no string
 */
export function decodeMetaContext(payload: Buffer): { readonly id: number; readonly name: string } {
  if (payload.length <= 4) throw protocolViolation(`meta context of ${payload.length} bytes`)
  return { id: payload.readUInt32BE(0), name: decodeString(payload.subarray(4)) }
}

export interface ListedExport {
  readonly exportName: string
  /** For people; often empty. */
  readonly description: string
}

/**
 * Decodes one NBD_REP_SERVER payload: length of the name (u32), the name, then a description to the end.
 * @throws PlatformError `nbd.protocol_violation` when the name is longer than the payload or a string than 4096 bytes
 */
export function decodeListedExport(payload: Buffer): ListedExport {
  if (payload.length < 4) throw protocolViolation(`a listed export of ${payload.length} bytes`)
  const nameBytes = payload.readUInt32BE(0)
  if (nameBytes > payload.length - 4) throw protocolViolation(`a listed export with a name of ${nameBytes} bytes`)
  const exportName = decodeString(payload.subarray(4, 4 + nameBytes))
  return { exportName, description: decodeString(payload.subarray(4 + nameBytes)) }
}

/**
 * Text as the protocol has it: UTF-8 of at most 4096 bytes, without NUL (NBD proto.md, "Conventions").
 * @throws PlatformError `nbd.protocol_violation` on anything else
 */
export function decodeString(bytes: Buffer): string {
  if (bytes.length > NBD_STRING_BYTES_MAX) throw protocolViolation(`a string of ${bytes.length} bytes`)
  if (bytes.includes(0)) throw protocolViolation('a string with a NUL')
  if (!isUtf8(bytes)) throw protocolViolation('a string that is not UTF-8')
  return bytes.toString('utf8')
}
