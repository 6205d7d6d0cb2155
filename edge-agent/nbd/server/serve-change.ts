import assert from 'node:assert/strict'
import {
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLUSH,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
} from '../wire/nbd-constants.ts'
import type { ServedSink } from './nbd-export.ts'
import type { ServedRequest } from './served-request.ts'

/** Written over and over where a range must hold zeros and no hole. */
const ZERO_PIECE = new Uint8Array(1024 * 1024)

/** Thrown where NBD_CMD_FLAG_FAST_ZERO asks for what is not fast: NBD_ENOTSUP, which no error of a disk stands for. */
export class NotFastError extends Error {
  override readonly name = 'NotFastError'
}

/**
 * Does a WRITE, WRITE_ZEROES, TRIM or FLUSH. Resolves when it is done, with NBD_CMD_FLAG_FUA when it is durable.
 * Rejects with `NotFastError`, or what the sink rejects with.
 */
export async function serveChange(serving: ServedRequest): Promise<void> {
  const { request, served, bytes, signal } = serving
  const { sink } = served
  if (sink === undefined) {
    assert(request.command === NBD_CMD_FLUSH, 'nothing changes a read-only export')
    return
  }
  const { command, offsetBytes, lengthBytes } = request
  if (command === NBD_CMD_WRITE) await sink.write(offsetBytes, bytes, { signal })
  else if (command === NBD_CMD_WRITE_ZEROES) await zero(sink, serving)
  else if (command === NBD_CMD_TRIM) await sink.trim?.(offsetBytes, lengthBytes, { signal })
  const isFlush = command === NBD_CMD_FLUSH || (request.commandFlags & NBD_CMD_FLAG_FUA) !== 0
  if (isFlush) await sink.flush({ signal })
}

/** NBD proto.md, "NBD_CMD_WRITE_ZEROES": without NO_HOLE a hole will do, FAST_ZERO must fail quickly or be quick. */
async function zero(sink: ServedSink, { request, signal }: ServedRequest): Promise<void> {
  const { offsetBytes, lengthBytes, commandFlags } = request
  const noHole = (commandFlags & NBD_CMD_FLAG_NO_HOLE) !== 0
  if ((commandFlags & NBD_CMD_FLAG_FAST_ZERO) !== 0) {
    const isDone = !noHole && (await sink.zeroFast?.(offsetBytes, lengthBytes, { signal })) === true
    if (!isDone) throw new NotFastError('zeroing this is no faster than writing zeros')
    return
  }
  if (!noHole) {
    await sink.writeZeroes(offsetBytes, lengthBytes, { signal })
    return
  }
  for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += ZERO_PIECE.length) {
    const pieceBytes = Math.min(ZERO_PIECE.length, offsetBytes + lengthBytes - at)
    await sink.write(at, ZERO_PIECE.subarray(0, pieceBytes), { signal })
  }
}
