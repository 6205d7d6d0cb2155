import type { Extent } from '@sendense/shared/domain/extent.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../wire/nbd-constants.ts'
import type { NbdConnection } from './nbd-connection.ts'
import { alignOutwards, cutData, settleAll } from './nbd-ranges.ts'

/** Fills `into`, which has the length of the range, in as many requests as it takes, aligned as the server wants. */
export async function readRange(
  connection: NbdConnection,
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
  const reads = pieces.map(async (piece) => {
    const start = piece.offsetBytes - range.offsetBytes
    const part = into.subarray(start, start + piece.lengthBytes)
    await connection.request({ command: NBD_CMD_READ, ...piece, into: part, signal })
  })
  await settleAll(reads)
}

/** Writes `bytes` at an offset in as many requests as it takes. The range must be aligned as the server wants. */
export async function writeRange(
  connection: NbdConnection,
  offsetBytes: number,
  bytes: Uint8Array,
  { signal }: CallOptions,
): Promise<void> {
  const pieces = cutData(connection.session, { offsetBytes, lengthBytes: bytes.length })
  const writes = pieces.map(async (piece) => {
    const start = piece.offsetBytes - offsetBytes
    const payload = bytes.subarray(start, start + piece.lengthBytes)
    await connection.request({ command: NBD_CMD_WRITE, ...piece, payload, signal })
  })
  await settleAll(writes)
}
