import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { expectOnDisk } from '../../block/block-range.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
  type NbdCommand,
} from '../wire/nbd-constants.ts'
import { nameOfCommand } from '../wire/requests.ts'
import type { NbdSession } from './handshake.ts'
import type { NbdRequest } from './in-flight-request.ts'

const COMPACT_LENGTH_MAX = 2 ** 32 - 1

interface CommandRule {
  /** NBD_FLAG_* that must be there. */
  readonly needs: number
  readonly writes: boolean
  /** NBD_CMD_FLAG_* that may be set, with what the server must have said to it. */
  readonly flags: Readonly<Record<number, number>>
}

const FUA = { [NBD_CMD_FLAG_FUA]: NBD_FLAG_SEND_FUA }

/** What a server must have said before a command or its flags may be used (NBD proto.md, "Command flags", "Request types"). */
const rules: Readonly<Record<NbdCommand, CommandRule>> = {
  [NBD_CMD_READ]: { needs: 0, writes: false, flags: { [NBD_CMD_FLAG_DF]: NBD_FLAG_SEND_DF } },
  [NBD_CMD_WRITE]: { needs: 0, writes: true, flags: FUA },
  [NBD_CMD_DISC]: { needs: 0, writes: false, flags: {} },
  [NBD_CMD_FLUSH]: { needs: NBD_FLAG_SEND_FLUSH, writes: false, flags: {} },
  [NBD_CMD_TRIM]: { needs: NBD_FLAG_SEND_TRIM, writes: true, flags: FUA },
  [NBD_CMD_CACHE]: { needs: NBD_FLAG_SEND_CACHE, writes: false, flags: {} },
  [NBD_CMD_WRITE_ZEROES]: {
    needs: NBD_FLAG_SEND_WRITE_ZEROES,
    writes: true,
    flags: { ...FUA, [NBD_CMD_FLAG_NO_HOLE]: 0, [NBD_CMD_FLAG_FAST_ZERO]: NBD_FLAG_SEND_FAST_ZERO },
  },
  [NBD_CMD_BLOCK_STATUS]: { needs: 0, writes: false, flags: { [NBD_CMD_FLAG_REQ_ONE]: 0 } },
}

/** Whether a command changes the disk. */
export function isWriting(command: NbdCommand): boolean {
  return rules[command].writes
}

/**
 * Refuses what the protocol forbids this client to send on this connection.
 * @throws PlatformError `nbd.read_only` on a writing command to a read-only export, `nbd.unsupported` when the server did
 *   not offer the command or a flag of it, `input.invalid` on a range that leaves the disk, is not aligned to the minimum
 *   block or is longer than a request may be
 */
export function expectAllowed(session: NbdSession, request: NbdRequest): void {
  const { command, commandFlags = 0, offsetBytes, lengthBytes } = request
  const { needs, writes, flags } = rules[command]
  if (writes && (session.flags & NBD_FLAG_READ_ONLY) !== 0) {
    throw new PlatformError('nbd.read_only', `a ${nameOfCommand(command)} to an NBD export that cannot be written`)
  }
  if ((session.flags & needs) !== needs) throw unsupported(`no ${nameOfCommand(command)}`)
  if (command === NBD_CMD_BLOCK_STATUS && session.contextIds.size === 0) throw unsupported('no block status')
  expectFlags(session, command, commandFlags, flags)
  if (command === NBD_CMD_FLUSH) {
    if (offsetBytes !== 0 || lengthBytes !== 0) throw invalid('a flush has no range', request)
    return
  }
  expectOnDisk(session.sizeBytes, offsetBytes, lengthBytes)
  expectFitting(session, request)
}

function expectFlags(session: NbdSession, command: NbdCommand, set: number, allowed: CommandRule['flags']): void {
  if (set === 0) return
  let left = set
  for (const [flag, needed] of Object.entries(allowed)) {
    const isSet = (left & Number(flag)) !== 0
    if (isSet && (session.flags & needed) !== needed)
      throw unsupported(`no flag ${flag} of a ${nameOfCommand(command)}`)
    left &= ~Number(flag)
  }
  if (left !== 0) throw unsupported(`no flags ${left} of a ${nameOfCommand(command)}`)
}

function expectFitting({ blockSizes, replyStyle }: NbdSession, request: NbdRequest): void {
  const { command, offsetBytes, lengthBytes } = request
  const { minimumBytes, maximumBytes } = blockSizes
  if (lengthBytes === 0) throw invalid('a request has a length', request)
  if (offsetBytes % minimumBytes !== 0 || lengthBytes % minimumBytes !== 0) {
    throw invalid(`a request is aligned to blocks of ${minimumBytes} bytes`, request)
  }
  const hasPayload = command === NBD_CMD_READ || command === NBD_CMD_WRITE
  const limitBytes = hasPayload ? maximumBytes : Number.MAX_SAFE_INTEGER
  const lengthMax = replyStyle === 'extended' && !hasPayload ? limitBytes : Math.min(limitBytes, COMPACT_LENGTH_MAX)
  if (lengthBytes > lengthMax) throw invalid(`a ${nameOfCommand(command)} has at most ${lengthMax} bytes`, request)
}

function unsupported(what: string): PlatformError {
  return new PlatformError('nbd.unsupported', `the NBD server offers ${what}`)
}

function invalid(rule: string, { offsetBytes, lengthBytes }: NbdRequest): PlatformError {
  const details = { offsetBytes, lengthBytes }
  return new PlatformError('input.invalid', `${rule}: ${lengthBytes} bytes at byte ${offsetBytes}`, { details })
}
