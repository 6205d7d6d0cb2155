import {
  NBD_FLAG_BLOCK_STATUS_PAYLOAD,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_ROTATIONAL,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_RESIZE,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from './nbd-constants.ts'

/** In the order of their bits, under the names people and programs see. */
const flagNames = [
  [NBD_FLAG_READ_ONLY, 'read-only'],
  [NBD_FLAG_SEND_FLUSH, 'flush'],
  [NBD_FLAG_SEND_FUA, 'fua'],
  [NBD_FLAG_ROTATIONAL, 'rotational'],
  [NBD_FLAG_SEND_TRIM, 'trim'],
  [NBD_FLAG_SEND_WRITE_ZEROES, 'write-zeroes'],
  [NBD_FLAG_SEND_DF, 'df'],
  [NBD_FLAG_CAN_MULTI_CONN, 'multi-conn'],
  [NBD_FLAG_SEND_RESIZE, 'resize'],
  [NBD_FLAG_SEND_CACHE, 'cache'],
  [NBD_FLAG_SEND_FAST_ZERO, 'fast-zero'],
  [NBD_FLAG_BLOCK_STATUS_PAYLOAD, 'block-status-payload'],
] as const

export type TransmissionFlagName = (typeof flagNames)[number][1]

/** What an export can do, by its NBD_FLAG_*. Unknown flags have no name. */
export function namesOfFlags(flags: number): TransmissionFlagName[] {
  return flagNames.filter(([flag]) => (flags & flag) !== 0).map(([, name]) => name)
}
