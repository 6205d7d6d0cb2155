import type { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import {
  type ContextStatus,
  decodeBlockStatus,
  decodeExtendedBlockStatus,
  type StatusRun,
} from '../wire/block-status.ts'
import {
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_READ,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_ERROR_BIT,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_STRING_BYTES_MAX,
} from '../wire/nbd-constants.ts'
import { protocolViolation, replyError } from '../wire/nbd-errors.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import { nameOfCommand } from '../wire/requests.ts'
import { readU64 } from '../wire/u64.ts'
import type { PendingRequest } from './pending-request.ts'

/** Of an error chunk; those of unknown types may have more after their text than ours do. */
export const ERROR_PAYLOAD_BYTES_MAX = 64 * 1024
/** For messages. */
const ERROR_TEXT_BYTES_MAX = 500
/** A server that tells of more errors in one reply than this never comes to its end. */
const ERROR_CHUNKS_MAX = 1024

/**
 * Applies one whole chunk that is not OFFSET_DATA to the request it answers: fills a hole with zeros, keeps a block
 * status or an error.
 * @throws PlatformError `nbd.protocol_violation` when it does not fit the request or what was negotiated
 */
export function applyChunk(request: PendingRequest, type: number, payload: Buffer, style: ReplyStyle): void {
  if ((type & NBD_REPLY_TYPE_ERROR_BIT) !== 0) {
    request.errorChunks += 1
    if (request.errorChunks > ERROR_CHUNKS_MAX) throw protocolViolation(`one reply has over ${ERROR_CHUNKS_MAX} errors`)
    request.failure ??= decodeError(request, type, payload)
    return
  }
  const isExtended = style === 'extended'
  if (type === NBD_REPLY_TYPE_NONE) {
    if (payload.length > 0) throw protocolViolation(`a chunk of type none with ${payload.length} bytes`)
  } else if (type === NBD_REPLY_TYPE_OFFSET_HOLE) {
    applyHole(request, payload)
  } else if (type === NBD_REPLY_TYPE_BLOCK_STATUS && !isExtended) {
    applyBlockStatus(request, decodeBlockStatus(payload))
  } else if (type === NBD_REPLY_TYPE_BLOCK_STATUS_EXT && isExtended) {
    applyBlockStatus(request, decodeExtendedBlockStatus(payload))
  } else {
    throw protocolViolation(`a chunk of type ${type}, which was not negotiated`)
  }
}

/**
 * A reply without an error answers all that was asked for.
 * @throws PlatformError `nbd.protocol_violation` when bytes of a read or a negotiated context are missing
 */
export function expectWholeAnswer({ coverage, contexts, contextIds }: PendingRequest): void {
  if (coverage?.isComplete === false) throw protocolViolation('a read is answered in part')
  if (contexts === undefined) return
  for (const id of contextIds) {
    if (!contexts.has(id)) throw protocolViolation(`a block status without context ${id}`)
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

/** Runs but the last begin within the request; one alone where no more was asked for, and not beyond it. */
function applyBlockStatus(request: PendingRequest, { contextId, runs }: ContextStatus): void {
  const { contexts, contextIds, lengthBytes } = request
  if (contexts === undefined) throw protocolViolation(`a block status answers a ${nameOfCommand(request.command)}`)
  if (!contextIds.has(contextId)) throw protocolViolation(`a block status of context ${contextId}, not negotiated`)
  if (contexts.has(contextId)) throw protocolViolation(`context ${contextId} comes twice in one reply`)
  const lastBytes = runs.at(-1)?.lengthBytes ?? 0
  const beforeLast = totalRunBytes(runs) - lastBytes
  if (beforeLast >= lengthBytes) throw protocolViolation(`a block status whose last run begins at byte ${beforeLast}`)
  if ((request.commandFlags & NBD_CMD_FLAG_REQ_ONE) !== 0 && (runs.length > 1 || lastBytes > lengthBytes)) {
    throw protocolViolation(`${runs.length} runs, the last of ${lastBytes} bytes, where one within the request is due`)
  }
  contexts.set(contextId, runs)
}

function totalRunBytes(runs: readonly StatusRun[]): number {
  let sum = 0
  for (const run of runs) sum += run.lengthBytes
  return sum
}

/** Error (u32), length of the text (u16), the text; ERROR_OFFSET: then the offset (u64), within the request. */
function decodeError(request: PendingRequest, type: number, payload: Buffer): PlatformError {
  if (payload.length < 6) throw protocolViolation(`an error chunk of ${payload.length} bytes`)
  const errorNumber = payload.readUInt32BE(0)
  const textBytes = payload.readUInt16BE(4)
  const hasOffset = type === NBD_REPLY_TYPE_ERROR_OFFSET
  if (errorNumber === 0) throw protocolViolation('an error chunk without an error')
  if (textBytes > NBD_STRING_BYTES_MAX) throw protocolViolation(`an error text of ${textBytes} bytes`)
  if (payload.length < 6 + textBytes + (hasOffset ? 8 : 0))
    throw protocolViolation('an error chunk shorter than its text')
  const text = payload.toString('utf8', 6, 6 + Math.min(textBytes, ERROR_TEXT_BYTES_MAX))
  const offsetBytes = hasOffset ? readU64(payload, 6 + textBytes) : request.offsetBytes
  const lengthBytes = request.offsetBytes + request.lengthBytes - offsetBytes
  const isWithin = offsetBytes >= request.offsetBytes && lengthBytes > 0
  if (hasOffset && !isWithin) throw protocolViolation(`an error at byte ${offsetBytes}, which was not asked for`)
  return replyError(errorNumber, nameOfCommand(request.command), { offsetBytes, lengthBytes }, text)
}
