import type { NbdEndpoint } from '../../block/block-endpoint.ts'
import { NBD_FLAG_CAN_MULTI_CONN } from '../wire/nbd-constants.ts'
import type { NbdSession } from './handshake.ts'

/** Of an export of a server that we know: QEMU and its storage daemon take 100 connections. */
export const QEMU_OPENERS_MAX = 8
const OPENERS_MAX = 8

/**
 * How many may open the export at once: a server that says that several connections are safe is not known to have a
 * limit, of another one we would be told nothing but to wait (qemu-nbd, `--shared`). Who says how many connections there
 * are to be means all of them together: one opener.
 */
export function openersMaxOf(
  { connections }: Pick<NbdEndpoint, 'connections'>,
  { flags }: Pick<NbdSession, 'flags'>,
): number {
  return connections !== undefined || (flags & NBD_FLAG_CAN_MULTI_CONN) === 0 ? 1 : OPENERS_MAX
}
