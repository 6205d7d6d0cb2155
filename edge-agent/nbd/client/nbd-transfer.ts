import type { Extent } from '@sendense/shared/domain/extent.ts'
import { settleAll } from '@sendense/shared/runtime/settle-all.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../wire/nbd-constants.ts'
import { alignOutwards, cutData } from './nbd-ranges.ts'
import type { NbdRequester } from './nbd-requester.ts'

/** Fills `into`, which has the length of the range, in as many requests as it takes, aligned as the server wants. */
export async function readRange(
  connection: NbdRequester,
  range: Extent,
  into: Uint8Array,
  { signal }: CallOptions,
): Promise<void> {
  if (range.lengthBytes === 0) return
  const aligned = alignOutwards(connection.session, range)
  if (aligned.lengthBytes !== range.lengthBytes) {
    const around = new Uint8Array(aligned.lengthBytes)
    await readRange(connection, aligned, around, { signal })
    const start = range.offsetBytes - aligned.offsetBytes
    into.set(around.subarray(start, start + range.lengthBytes))
    return
  }
  const pieces = cutData(connection.session, range)
  if (pieces.length === 1) {
    const { offsetBytes, lengthBytes } = range
    await connection.request({ command: NBD_CMD_READ, offsetBytes, lengthBytes, into, signal })
    return
  }
  const reads = pieces.map(async (piece) => {
    const start = piece.offsetBytes - range.offsetBytes
    const part = into.subarray(start, start + piece.lengthBytes)
    await connection.request({ command: NBD_CMD_READ, ...piece, into: part, signal })
  })
  await settleAll(reads)
}

/**
 * Writes `bytes` at an offset in as many requests as it takes. The range must be aligned as the server wants.
 * @param options `commandFlags`: NBD_CMD_FLAG_* of all these requests
 */
export async function writeRange(
  connection: NbdRequester,
  offsetBytes: number,
  bytes: Uint8Array,
  { signal, commandFlags = 0 }: CallOptions & { readonly commandFlags?: number },
): Promise<void> {
  const lengthBytes = bytes.length
  const pieces = cutData(connection.session, { offsetBytes, lengthBytes })
  if (pieces.length === 1) {
    await connection.request({ command: NBD_CMD_WRITE, commandFlags, offsetBytes, lengthBytes, payload: bytes, signal })
    return
  }
  const writes = pieces.map(async (piece) => {
    const start = piece.offsetBytes - offsetBytes
    const payload = bytes.subarray(start, start + piece.lengthBytes)
    await connection.request({ command: NBD_CMD_WRITE, commandFlags, ...piece, payload, signal })
  })
  await settleAll(writes)
}
