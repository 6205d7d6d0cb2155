import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLUSH,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EXTENDED_REQUEST_MAGIC,
  NBD_REQUEST_MAGIC,
  type NbdCommand,
} from './nbd-constants.ts'
import { clientViolation } from './nbd-errors.ts'
import { EXTENDED_REQUEST_HEADER_BYTES, REQUEST_HEADER_BYTES } from './requests.ts'
import { readU64 } from './u64.ts'

/** Of the payload of a BLOCK_STATUS: effect length (u64), then at least one context id (u32). */
export const STATUS_FILTER_BYTES_MIN = 12

/** A request as it arrived, whatever it says. */
export interface ReceivedRequest {
  /** Any number of 16 bits; `isNbdCommand` tells those that exist. */
  readonly command: number
  readonly commandFlags: number
  /** Opaque: all 64 bits go back in the reply. */
  readonly cookie: bigint
  /** As it came: an extended reply repeats it. */
  readonly offset: bigint
  /** The same as a number: not exact beyond 2^53, where no disk reaches. */
  readonly offsetBytes: number
  /** Of the range it is about, or of its payload; not exact beyond 2^53. */
  readonly lengthBytes: number
  /** Bytes that follow the header, whether or not the command may have any. */
  readonly payloadBytes: number
}

/** Bytes of one request's header. */
export function requestHeaderBytes(extended: boolean): number {
  return extended ? EXTENDED_REQUEST_HEADER_BYTES : REQUEST_HEADER_BYTES
}

/**
 * Decodes magic (u32), command flags (u16), type (u16), cookie (u64), offset (u64), length (u32, or u64 where extended
 * headers were negotiated). Nothing but the magic is judged here. A WRITE has its payload also where an extended header
 * does not say so: QEMU's client (seen: 10.0.13) does not.
 * @throws PlatformError `nbd.protocol_violation` on another magic: where the next request begins is not known any more
 */
export function decodeRequest(bytes: Buffer, extended: boolean): ReceivedRequest {
  const magic = bytes.readUInt32BE(0)
  if (magic !== (extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC)) {
    throw clientViolation(`request with magic 0x${magic.toString(16)}`)
  }
  const commandFlags = bytes.readUInt16BE(4)
  const command = bytes.readUInt16BE(6)
  const lengthBytes = extended ? readU64(bytes, 24) : bytes.readUInt32BE(24)
  const saysPayload = extended && (commandFlags & NBD_CMD_FLAG_PAYLOAD_LEN) !== 0
  const hasPayload = command === NBD_CMD_WRITE || saysPayload
  return {
    command,
    commandFlags,
    cookie: bytes.readBigUInt64BE(8),
    offset: bytes.readBigUInt64BE(16),
    offsetBytes: readU64(bytes, 16),
    lengthBytes,
    payloadBytes: hasPayload ? lengthBytes : 0,
  }
}

/** What a BLOCK_STATUS with NBD_CMD_FLAG_PAYLOAD_LEN asks for. */
export interface StatusFilter {
  readonly lengthBytes: number
  readonly contextIds: readonly number[]
}

/**
 * Decodes the payload of a BLOCK_STATUS: effect length (u64), then context ids (u32 each).
 * @returns undefined unless it is one or more whole ids, none twice
 */
export function decodeStatusFilter(payload: Buffer): StatusFilter | undefined {
  if (payload.length < STATUS_FILTER_BYTES_MIN || payload.length % 4 !== 0) return undefined
  const contextIds: number[] = []
  for (let at = 8; at < payload.length; at += 4) contextIds.push(payload.readUInt32BE(at))
  if (new Set(contextIds).size !== contextIds.length) return undefined
  return { lengthBytes: readU64(payload, 0), contextIds }
}

const COMMANDS: ReadonlySet<number> = new Set<NbdCommand>([
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CMD_DISC,
  NBD_CMD_FLUSH,
  NBD_CMD_TRIM,
  NBD_CMD_CACHE,
  NBD_CMD_WRITE_ZEROES,
  NBD_CMD_BLOCK_STATUS,
])

export function isNbdCommand(command: number): command is NbdCommand {
  return COMMANDS.has(command)
}
