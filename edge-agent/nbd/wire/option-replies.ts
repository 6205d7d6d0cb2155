import type { BlockSizes, ExportInfo } from './handshake-options.ts'
import { OPTION_REPLY_HEADER_BYTES } from './handshake-options.ts'
import {
  IHAVEOPT,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_EXPORT,
  NBD_INFO_NAME,
  NBD_MAGIC,
  NBD_REP_MAGIC,
} from './nbd-constants.ts'

const EXPORT_NAME_ZEROES_BYTES = 124

/** What a server says first: NBDMAGIC (u64), IHAVEOPT (u64), FIXED_NEWSTYLE and NO_ZEROES (u16). */
export function encodeGreeting(): Buffer {
  const bytes = Buffer.allocUnsafe(18)
  bytes.writeBigUInt64BE(NBD_MAGIC, 0)
  bytes.writeBigUInt64BE(IHAVEOPT, 8)
  bytes.writeUInt16BE(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES, 16)
  return bytes
}

/** One reply to an option: magic (u64), option (u32), reply type (u32), length (u32), data. */
export function encodeOptionReply(option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.allocUnsafe(OPTION_REPLY_HEADER_BYTES + data.length)
  bytes.writeBigUInt64BE(NBD_REP_MAGIC, 0)
  bytes.writeUInt32BE(option, 8)
  bytes.writeUInt32BE(type, 12)
  bytes.writeUInt32BE(data.length, 16)
  data.copy(bytes, OPTION_REPLY_HEADER_BYTES)
  return bytes
}

/** The data of an NBD_REP_SERVER: length of the name (u32), name, description. */
export function encodeServer(name: string, description: string): Buffer {
  const nameBytes = Buffer.from(name, 'utf8')
  return Buffer.concat([u32(nameBytes.length), nameBytes, Buffer.from(description, 'utf8')])
}

/** The data of an NBD_REP_INFO: NBD_INFO_EXPORT (u16), size (u64), transmission flags (u16). */
export function encodeExportInfo({ sizeBytes, flags }: ExportInfo): Buffer {
  return Buffer.concat([u16(NBD_INFO_EXPORT), exportFacts({ sizeBytes, flags })])
}

/** The data of an NBD_REP_INFO: NBD_INFO_NAME (u16), name. */
export function encodeNameInfo(name: string): Buffer {
  return Buffer.concat([u16(NBD_INFO_NAME), Buffer.from(name, 'utf8')])
}

/** The data of an NBD_REP_INFO: NBD_INFO_DESCRIPTION (u16), text. */
export function encodeDescriptionInfo(description: string): Buffer {
  return Buffer.concat([u16(NBD_INFO_DESCRIPTION), Buffer.from(description, 'utf8')])
}

/** The data of an NBD_REP_INFO: NBD_INFO_BLOCK_SIZE (u16), minimum, preferred, maximum (u32 each). */
export function encodeBlockSizeInfo({ minimumBytes, preferredBytes, maximumBytes }: BlockSizes): Buffer {
  return Buffer.concat([u16(NBD_INFO_BLOCK_SIZE), u32(minimumBytes), u32(preferredBytes), u32(maximumBytes)])
}

/** The data of an NBD_REP_META_CONTEXT: id (u32), name. */
export function encodeMetaContext(id: number, name: string): Buffer {
  return Buffer.concat([u32(id), Buffer.from(name, 'utf8')])
}

/** The answer to NBD_OPT_EXPORT_NAME, which has no header: size (u64), transmission flags (u16), 124 zeros. */
export function encodeExportNameAnswer(info: ExportInfo, noZeroes: boolean): Buffer {
  return Buffer.concat([exportFacts(info), Buffer.alloc(noZeroes ? 0 : EXPORT_NAME_ZEROES_BYTES)])
}

function exportFacts({ sizeBytes, flags }: ExportInfo): Buffer {
  const bytes = Buffer.allocUnsafe(10)
  bytes.writeBigUInt64BE(BigInt(sizeBytes), 0)
  bytes.writeUInt16BE(flags, 8)
  return bytes
}

function u16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2)
  bytes.writeUInt16BE(value, 0)
  return bytes
}

function u32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeUInt32BE(value, 0)
  return bytes
}
