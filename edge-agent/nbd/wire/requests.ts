import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EXTENDED_REQUEST_MAGIC,
  NBD_REQUEST_MAGIC,
  type NbdCommand,
} from './nbd-constants.ts'
import { writeU64 } from './u64.ts'

export const REQUEST_HEADER_BYTES = 28
export const EXTENDED_REQUEST_HEADER_BYTES = 32

/** Which of the two request headers a connection uses, from NBD_OPT_EXTENDED_HEADERS on: extended. */
export type RequestStyle = 'compact' | 'extended'

export interface RequestHeader {
  readonly command: NbdCommand
  readonly commandFlags: number
  /** Below 2^53; the protocol's 64 bits leave room. */
  readonly cookie: number
  readonly offsetBytes: number
  /** Of the payload or of the range. Compact: below 2^32. */
  readonly lengthBytes: number
}

/**
 * Compact: magic (u32), command flags (u16), type (u16), cookie (u64), offset (u64), length (u32). Extended: another
 * magic, a length of u64, and NBD_CMD_FLAG_PAYLOAD_LEN is set here for a WRITE, as it must be.
 */
export function encodeRequest(request: RequestHeader, style: RequestStyle = 'compact'): Buffer {
  const isExtended = style === 'extended'
  const header = Buffer.allocUnsafe(isExtended ? EXTENDED_REQUEST_HEADER_BYTES : REQUEST_HEADER_BYTES)
  const hasPayload = isExtended && request.command === NBD_CMD_WRITE
  header.writeUInt32BE(isExtended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC, 0)
  header.writeUInt16BE(request.commandFlags | (hasPayload ? NBD_CMD_FLAG_PAYLOAD_LEN : 0), 4)
  header.writeUInt16BE(request.command, 6)
  writeU64(header, request.cookie, 8)
  writeU64(header, request.offsetBytes, 16)
  if (isExtended) writeU64(header, request.lengthBytes, 24)
  else header.writeUInt32BE(request.lengthBytes, 24)
  return header
}

const commandNames: Readonly<Record<NbdCommand, string>> = {
  [NBD_CMD_READ]: 'read',
  [NBD_CMD_WRITE]: 'write',
  [NBD_CMD_DISC]: 'disconnect',
  [NBD_CMD_FLUSH]: 'flush',
  [NBD_CMD_TRIM]: 'trim',
  [NBD_CMD_CACHE]: 'cache',
  [NBD_CMD_WRITE_ZEROES]: 'write of zeros',
  [NBD_CMD_BLOCK_STATUS]: 'block status',
}

/** For messages. */
export function nameOfCommand(command: NbdCommand): string {
  return commandNames[command]
}
