import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_REQUEST_MAGIC,
  type NbdCommand,
} from './nbd-constants.ts'

export const REQUEST_HEADER_BYTES = 28

export interface RequestHeader {
  readonly command: NbdCommand
  readonly commandFlags: number
  /** Below 2^53; the protocol's 64 bits leave room. */
  readonly cookie: number
  readonly offsetBytes: number
  /** Below 2^32. */
  readonly lengthBytes: number
}

/** Magic (u32), command flags (u16), type (u16), cookie (u64), offset (u64), length (u32). */
export function encodeRequest(request: RequestHeader): Buffer {
  const header = Buffer.allocUnsafe(REQUEST_HEADER_BYTES)
  header.writeUInt32BE(NBD_REQUEST_MAGIC, 0)
  header.writeUInt16BE(request.commandFlags, 4)
  header.writeUInt16BE(request.command, 6)
  writeSafeInteger(header, request.cookie, 8)
  writeSafeInteger(header, request.offsetBytes, 16)
  header.writeUInt32BE(request.lengthBytes, 24)
  return header
}

function writeSafeInteger(into: Buffer, value: number, at: number): void {
  into.writeUInt32BE(Math.floor(value / 2 ** 32), at)
  into.writeUInt32BE(value % 2 ** 32, at + 4)
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
