import type { BlockSizes } from '../wire/handshake-options.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_ENOSPC,
  NBD_EOVERFLOW,
  NBD_EPERM,
  type NbdCommand,
} from '../wire/nbd-constants.ts'
import { isNbdCommand, type ReceivedRequest } from '../wire/received-request.ts'
import type { ReplyStyle } from '../wire/reply-header.ts'
import { nameOfCommand } from '../wire/requests.ts'

/** What a request is held against. */
export interface RequestRules {
  readonly sizeBytes: number
  readonly blockSizes: BlockSizes
  readonly isWritable: boolean
  readonly canTrim: boolean
  readonly style: ReplyStyle
  readonly hasContexts: boolean
}

/** Why a request is refused. */
export interface RequestFault {
  readonly errorNumber: number
  /** For people. */
  readonly text: string
}

/** What each command may carry beside NBD_CMD_FLAG_FUA, which is valid with all (NBD proto.md, "Command flags"). */
const OWN_FLAGS: Readonly<Record<NbdCommand, number>> = {
  [NBD_CMD_READ]: NBD_CMD_FLAG_DF,
  [NBD_CMD_WRITE]: 0,
  [NBD_CMD_DISC]: 0,
  [NBD_CMD_FLUSH]: 0,
  [NBD_CMD_TRIM]: 0,
  [NBD_CMD_CACHE]: 0,
  [NBD_CMD_WRITE_ZEROES]: NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
  [NBD_CMD_BLOCK_STATUS]: NBD_CMD_FLAG_REQ_ONE,
}

/**
 * What is wrong with a request, before anything is done for it; undefined: nothing. The errors are those that the
 * protocol names (NBD proto.md, "Error values").
 */
export function findFault(request: ReceivedRequest, rules: RequestRules): RequestFault | undefined {
  const { command } = request
  if (!isNbdCommand(command)) return invalid(`there is no command ${command}`)
  return (
    findForbidden(command, rules) ??
    findFlagFault(command, request, rules) ??
    findPayloadFault(command, request, rules) ??
    (request.payloadBytes > 0 && command === NBD_CMD_BLOCK_STATUS
      ? undefined // its length is that of its payload; the range is inside
      : findRangeFault(command, request, rules))
  )
}

function findForbidden(command: NbdCommand, rules: RequestRules): RequestFault | undefined {
  const changes = command === NBD_CMD_WRITE || command === NBD_CMD_TRIM || command === NBD_CMD_WRITE_ZEROES
  if (changes && !rules.isWritable) return { errorNumber: NBD_EPERM, text: 'the export is read-only' }
  if (command === NBD_CMD_TRIM && !rules.canTrim) return invalid('the export cannot trim')
  if (command === NBD_CMD_BLOCK_STATUS && !rules.hasContexts) return invalid('no meta context was negotiated')
  return undefined
}

function findFlagFault(
  command: NbdCommand,
  { commandFlags, payloadBytes }: ReceivedRequest,
  { isWritable, style }: RequestRules,
): RequestFault | undefined {
  let allowed = OWN_FLAGS[command]
  if (isWritable) allowed |= NBD_CMD_FLAG_FUA
  if (style === 'simple') allowed &= ~NBD_CMD_FLAG_DF
  if (style === 'extended' && payloadBytes > 0) allowed |= NBD_CMD_FLAG_PAYLOAD_LEN
  const wrong = commandFlags & ~allowed
  return wrong === 0 ? undefined : invalid(`a ${nameOfCommand(command)} with flags 0x${wrong.toString(16)}`)
}

function findPayloadFault(
  command: NbdCommand,
  { payloadBytes }: ReceivedRequest,
  { style, blockSizes }: RequestRules,
): RequestFault | undefined {
  if (payloadBytes > blockSizes.maximumBytes) return invalid(`a payload of ${payloadBytes} bytes`)
  if (style !== 'extended') return undefined
  if (command === NBD_CMD_WRITE) return payloadBytes > 0 ? undefined : invalid('a write without payload')
  const mayHave = command === NBD_CMD_BLOCK_STATUS
  return payloadBytes > 0 && !mayHave ? invalid(`a ${nameOfCommand(command)} with a payload`) : undefined
}

function findRangeFault(
  command: NbdCommand,
  range: { readonly offsetBytes: number; readonly lengthBytes: number },
  { sizeBytes, blockSizes, style }: RequestRules,
): RequestFault | undefined {
  const { offsetBytes, lengthBytes } = range
  if (command === NBD_CMD_DISC) return undefined
  if (command === NBD_CMD_FLUSH) {
    return offsetBytes === 0 && lengthBytes === 0 ? undefined : invalid('a flush of a range')
  }
  if (offsetBytes + lengthBytes > sizeBytes) {
    const grows = command === NBD_CMD_WRITE || command === NBD_CMD_WRITE_ZEROES
    const text = `bytes ${offsetBytes} to ${offsetBytes + lengthBytes} leave an export of ${sizeBytes} bytes`
    return { errorNumber: grows ? NBD_ENOSPC : NBD_EINVAL, text }
  }
  const { minimumBytes, maximumBytes } = blockSizes
  if (offsetBytes % minimumBytes !== 0 || lengthBytes % minimumBytes !== 0) {
    return invalid(`bytes ${offsetBytes} to ${offsetBytes + lengthBytes} are no blocks of ${minimumBytes} bytes`)
  }
  if (command === NBD_CMD_READ && lengthBytes > maximumBytes) {
    const text = `a read of ${lengthBytes} bytes; ${maximumBytes} are the most`
    return { errorNumber: style === 'simple' ? NBD_EINVAL : NBD_EOVERFLOW, text }
  }
  if (command === NBD_CMD_BLOCK_STATUS && lengthBytes === 0) return invalid('a block status of no bytes')
  return undefined
}

/** The same for the range that a BLOCK_STATUS with a payload asks for. */
export function findStatusFault(
  range: { readonly offsetBytes: number; readonly lengthBytes: number },
  rules: RequestRules,
): RequestFault | undefined {
  return findRangeFault(NBD_CMD_BLOCK_STATUS, range, rules)
}

function invalid(text: string): RequestFault {
  return { errorNumber: NBD_EINVAL, text }
}
