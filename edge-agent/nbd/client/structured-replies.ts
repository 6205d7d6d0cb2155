import type { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { decodeBlockStatus } from '../wire/block-status.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_READ,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR_BIT,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_HOLE,
} from '../wire/nbd-constants.ts'
import { protocolViolation, replyError } from '../wire/nbd-errors.ts'
import { nameOfCommand } from '../wire/requests.ts'
import { readU64 } from '../wire/u64.ts'
import type { PendingRequest } from './pending-request.ts'

/** Error number (u32), length of the text (u16), at most 64 KiB of text, an offset (u64). */
export const ERROR_PAYLOAD_BYTES_MAX = 4 + 2 + 65_535 + 8

/**
 * Applies one whole chunk that is not OFFSET_DATA to the request it answers: fills a hole with zeros, keeps a block
 * status or an error.
 * @throws PlatformError `nbd.protocol_violation` when it does not fit the request
 */
export function applyChunk(request: PendingRequest, type: number, payload: Buffer): void {
  if ((type & NBD_REPLY_TYPE_ERROR_BIT) !== 0) {
    request.failure ??= decodeError(request, type, payload)
    return
  }
  switch (type) {
    case NBD_REPLY_TYPE_NONE:
      if (payload.length > 0) throw protocolViolation(`a chunk of type none with ${payload.length} bytes`)
      return
    case NBD_REPLY_TYPE_OFFSET_HOLE:
      applyHole(request, payload)
      return
    case NBD_REPLY_TYPE_BLOCK_STATUS:
      applyBlockStatus(request, payload)
      return
    default:
      throw protocolViolation(`a chunk of unknown type ${type}`)
  }
}

/** Offset of the hole (u64), its length (u32). */
function applyHole(request: PendingRequest, payload: Buffer): void {
  if (request.command !== NBD_CMD_READ || request.coverage === undefined) {
    throw protocolViolation(`a hole answers a ${nameOfCommand(request.command)}`)
  }
  if (payload.length !== 12) throw protocolViolation(`a hole chunk of ${payload.length} bytes`)
  const start = readU64(payload, 0) - request.offsetBytes
  const end = start + payload.readUInt32BE(8)
  request.coverage.add(start, end)
  request.into?.fill(0, start, end)
}

function applyBlockStatus(request: PendingRequest, payload: Buffer): void {
  if (request.command !== NBD_CMD_BLOCK_STATUS || request.contexts === undefined) {
    throw protocolViolation(`a block status answers a ${nameOfCommand(request.command)}`)
  }
  const { contextId, runs } = decodeBlockStatus(payload)
  if (request.contexts.has(contextId)) throw protocolViolation(`context ${contextId} comes twice in one reply`)
  request.contexts.set(contextId, runs)
}

/** Error (u32), length of the text (u16), the text; ERROR_OFFSET: then the offset (u64). */
function decodeError(request: PendingRequest, type: number, payload: Buffer): PlatformError {
  if (payload.length < 6) throw protocolViolation(`an error chunk of ${payload.length} bytes`)
  const errorNumber = payload.readUInt32BE(0)
  const textBytes = payload.readUInt16BE(4)
  const tailBytes = type === NBD_REPLY_TYPE_ERROR_OFFSET ? 8 : 0
  if (errorNumber === 0) throw protocolViolation('an error chunk without an error')
  if (payload.length < 6 + textBytes + tailBytes) throw protocolViolation('an error chunk shorter than its text')
  const text = payload.toString('utf8', 6, 6 + Math.min(textBytes, 500))
  const offsetBytes = tailBytes === 0 ? request.offsetBytes : readU64(payload, 6 + textBytes)
  return replyError(errorNumber, nameOfCommand(request.command), offsetBytes, text)
}

/** Under the name the reply parser knows. */
export { readU64 as decodeOffset }
