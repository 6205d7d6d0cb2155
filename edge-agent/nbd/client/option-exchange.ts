import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { decodeOptionReplyHeader, OPTION_REPLY_HEADER_BYTES } from '../wire/handshake-options.ts'
import {
  NBD_REP_ACK,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_FLAG_ERROR,
} from '../wire/nbd-constants.ts'
import { protocolViolation } from '../wire/nbd-errors.ts'

/** A server may name many contexts or infos; we asked for few. */
const REPLIES_PER_OPTION_MAX = 64
const ERROR_TEXT_CHARACTERS_MAX = 500

/** The bytes of a connection before transmission begins. */
export interface HandshakeChannel {
  /** Bytes that arrived and nobody has received. */
  readonly heldBytes: number
  /** Exactly so many bytes, the caller's to keep. */
  receive(lengthBytes: number): Promise<Buffer>
  send(bytes: Buffer): void
}

/** How a server ended an option: it did it, or one of NBD_REP_ERR_* with what it said of it. */
export type OptionEnd =
  | { readonly kind: 'done' }
  | { readonly kind: 'refused'; readonly type: number; readonly text: string }

export interface OptionExchange {
  readonly option: number
  /** For messages. */
  readonly name: string
  /** The option as `encodeOption` made it. */
  readonly bytes: Buffer
  /** Replies that may come before the end, by type. Any other type breaks the protocol. */
  readonly on?: Readonly<Record<number, (payload: Buffer) => void>>
  /** Default 64. */
  readonly repliesMax?: number
}

/**
 * Sends one option and takes its replies up to the last one.
 * Rejects with `nbd.protocol_violation` on replies that this option does not have, or on too many.
 */
export async function exchangeOption(channel: HandshakeChannel, exchange: OptionExchange): Promise<OptionEnd> {
  const { option, name, bytes, on = {}, repliesMax = REPLIES_PER_OPTION_MAX } = exchange
  channel.send(bytes)
  for (let count = 0; count < repliesMax; count += 1) {
    const header = decodeOptionReplyHeader(await channel.receive(OPTION_REPLY_HEADER_BYTES), option)
    const payload = await channel.receive(header.lengthBytes)
    if (header.type === NBD_REP_ACK) {
      if (payload.length > 0) throw protocolViolation(`${payload.length} bytes with the acknowledgement of ${name}`)
      return { kind: 'done' }
    }
    if (header.type >= NBD_REP_FLAG_ERROR) {
      return { kind: 'refused', type: header.type, text: payload.toString('utf8').slice(0, ERROR_TEXT_CHARACTERS_MAX) }
    }
    const handle = on[header.type]
    if (handle === undefined) throw protocolViolation(`reply type ${header.type} to ${name}`)
    handle(payload)
  }
  throw protocolViolation(`over ${repliesMax} replies to ${name}`)
}

/** Refused for good, whatever the option: the server shuts down, or does nothing without TLS. */
export function isFinalRefusal(end: OptionEnd): boolean {
  return end.kind === 'refused' && (end.type === NBD_REP_ERR_SHUTDOWN || end.type === NBD_REP_ERR_TLS_REQD)
}

/** What a refusal means where nothing goes on without the option. `what` begins the message, as `NBD export "x"`. */
export function refusalError(
  { type, text }: Extract<OptionEnd, { kind: 'refused' }>,
  what: string,
  exportName: string,
): PlatformError {
  const said = text === '' ? '' : `: ${text}`
  const details = { exportName, replyType: type - NBD_REP_FLAG_ERROR }
  switch (type) {
    case NBD_REP_ERR_UNKNOWN:
      return new PlatformError('nbd.export_not_found', `${what} is not there${said}`, { details })
    case NBD_REP_ERR_SHUTDOWN:
      return new PlatformError('nbd.disconnected', `the NBD server shuts down${said}`, { details })
    case NBD_REP_ERR_TLS_REQD:
      return new PlatformError('nbd.access_denied', `${what} is served over TLS only, and none is set up${said}`, {
        details,
      })
    case NBD_REP_ERR_POLICY:
      return new PlatformError('nbd.access_denied', `the NBD server refuses ${what}${said}`, { details })
    default:
      return protocolViolation(`${what} is answered with error ${type - NBD_REP_FLAG_ERROR}${said}`)
  }
}
