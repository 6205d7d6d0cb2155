import { IHAVEOPT, NBD_STRING_BYTES_MAX } from './nbd-constants.ts'
import { clientViolation } from './nbd-errors.ts'

/** A server answers longer lists of queries with NBD_REP_ERR_TOO_BIG. */
export const QUERIES_MAX = 128

export interface OptionRequest {
  readonly option: number
  /** Of the data that follows. */
  readonly lengthBytes: number
}

/**
 * Decodes IHAVEOPT (u64), option (u32), length (u32).
 * @throws PlatformError `nbd.protocol_violation` on another magic
 */
export function decodeOption(bytes: Buffer): OptionRequest {
  const magic = bytes.readBigUInt64BE(0)
  if (magic !== IHAVEOPT) throw clientViolation(`option with magic 0x${magic.toString(16)}`)
  return { option: bytes.readUInt32BE(8), lengthBytes: bytes.readUInt32BE(12) }
}

export interface InfoRequest {
  readonly exportName: string
  /** NBD_INFO_*, in the order asked, unknown ones too. */
  readonly infos: readonly number[]
}

/**
 * Decodes the data of NBD_OPT_GO and NBD_OPT_INFO: export name (u32 length, text), count (u16), then so many NBD_INFO_*
 * (u16).
 * @throws PlatformError `nbd.protocol_violation` unless the lengths agree with each other
 */
export function decodeInfoRequest(data: Buffer): InfoRequest {
  const name = readString(data, 0)
  if (data.length < name.endAt + 2) throw clientViolation('an export name that leaves no room for a count')
  const count = data.readUInt16BE(name.endAt)
  const at = name.endAt + 2
  if (data.length !== at + 2 * count) throw clientViolation(`${count} informations in ${data.length - at} bytes`)
  return {
    exportName: name.text,
    infos: Array.from({ length: count }, (_, index) => data.readUInt16BE(at + 2 * index)),
  }
}

export interface MetaContextRequest {
  readonly exportName: string
  /** At most `QUERIES_MAX`; undefined: more than that. */
  readonly queries: readonly string[] | undefined
}

/**
 * Decodes the data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT: export name (u32 length, text), count
 * (u32), then so many queries (u32 length, text).
 * @throws PlatformError `nbd.protocol_violation` unless the lengths agree with each other
 */
export function decodeMetaContextRequest(data: Buffer): MetaContextRequest {
  const name = readString(data, 0)
  if (data.length < name.endAt + 4) throw clientViolation('an export name that leaves no room for a count')
  const count = data.readUInt32BE(name.endAt)
  if (count > QUERIES_MAX) return { exportName: name.text, queries: undefined }
  const queries: string[] = []
  let at = name.endAt + 4
  for (let index = 0; index < count; index += 1) {
    const query = readString(data, at)
    queries.push(query.text)
    at = query.endAt
  }
  if (at !== data.length) throw clientViolation(`${data.length - at} bytes after the last query`)
  return { exportName: name.text, queries }
}

function readString(data: Buffer, at: number): { readonly text: string; readonly endAt: number } {
  if (data.length < at + 4) throw clientViolation('a string without its length')
  const lengthBytes = data.readUInt32BE(at)
  const endAt = at + 4 + lengthBytes
  if (lengthBytes > NBD_STRING_BYTES_MAX || endAt > data.length)
    throw clientViolation(`a string of ${lengthBytes} bytes`)
  return { text: data.toString('utf8', at + 4, endAt), endAt }
}
