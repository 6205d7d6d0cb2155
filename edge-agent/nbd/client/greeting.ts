import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdTls } from '../../block/block-endpoint.ts'
import { encodeOption } from '../wire/handshake-options.ts'
import {
  IHAVEOPT,
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_MAGIC,
  NBD_OPT_STARTTLS,
  NBD_REP_ERR_SHUTDOWN,
} from '../wire/nbd-constants.ts'
import { protocolViolation } from '../wire/nbd-errors.ts'
import { exchangeOption, type HandshakeChannel, refusalError } from './option-exchange.ts'

const GREETING_BYTES = 18

export interface Greeting {
  /** The answer to NBD_OPT_EXPORT_NAME has no 124 zeros at its end. */
  readonly noZeroes: boolean
}

/**
 * The first bytes of fixed newstyle: NBDMAGIC (u64), IHAVEOPT (u64), flags (u16); answered with the flags we share (u32).
 * Unknown flags of the server are ignored, as the protocol asks. Rejects with `nbd.protocol_violation`.
 */
export async function exchangeGreeting(channel: HandshakeChannel): Promise<Greeting> {
  const greeting = await channel.receive(GREETING_BYTES)
  if (greeting.readBigUInt64BE(0) !== NBD_MAGIC) throw protocolViolation('the greeting has no NBDMAGIC')
  if (greeting.readBigUInt64BE(8) !== IHAVEOPT) throw protocolViolation('the server speaks only the oldstyle handshake')
  const flags = greeting.readUInt16BE(16)
  if ((flags & NBD_FLAG_FIXED_NEWSTYLE) === 0) throw protocolViolation('the server does not speak fixed newstyle')
  const noZeroes = (flags & NBD_FLAG_NO_ZEROES) !== 0
  const answer = Buffer.alloc(4)
  answer.writeUInt32BE(NBD_FLAG_C_FIXED_NEWSTYLE | (noZeroes ? NBD_FLAG_C_NO_ZEROES : 0), 0)
  channel.send(answer)
  return { noZeroes }
}

/** Puts TLS under the channel; resolves when the peer has proven who it is. */
export type UpgradeToTls = (tls: NbdTls) => Promise<void>

/**
 * NBD_OPT_STARTTLS as the first option, so that nothing else travels in the clear. There is no going on without it.
 * Rejects with `nbd.tls_failed` when the server has no TLS or cannot be trusted, `nbd.protocol_violation` when it sends
 * on in the clear: somebody between may have put that there.
 */
export async function negotiateTls(channel: HandshakeChannel, tls: NbdTls, upgrade: UpgradeToTls): Promise<void> {
  const bytes = encodeOption(NBD_OPT_STARTTLS)
  const end = await exchangeOption(channel, { option: NBD_OPT_STARTTLS, name: 'NBD_OPT_STARTTLS', bytes })
  if (end.kind === 'refused') {
    if (end.type === NBD_REP_ERR_SHUTDOWN) throw refusalError(end, 'TLS', '')
    const said = end.text === '' ? '' : `: ${end.text}`
    throw new PlatformError('nbd.tls_failed', `the NBD server offers no TLS, which is asked for${said}`)
  }
  if (channel.heldBytes > 0) throw protocolViolation('bytes in the clear follow the start of TLS')
  await upgrade(tls)
}
