import type { Extent } from '@sendense/shared/domain/extent.ts'
import type { NbdSession } from './handshake.ts'

/** A run of the mover is one request: the fewer replies, the less each byte costs (docs/decisions/0009). */
const PAYLOAD_BYTES_MAX = 1024 * 1024
/** Of a request without payload: a multiple of 64 KiB, and small enough to be answered in time by a slow disk. */
const RANGE_BYTES_MAX = 128 * 1024 * 1024
/** Of a block status where the server can tell of runs longer than 32 bits can say. */
const EXTENDED_STATUS_BYTES_MAX = 8 * 1024 * 1024 * 1024
/** The longest range of a compact request, in whole blocks of any minimum size. */
const COMPACT_BYTES_MAX = 2 ** 32 - 65_536
/** Of zeros that are quicker than data: QEMU still writes tables for them, 8 MiB for so many of a QCOW2 image. */
const QUICK_BYTES_MAX = 64 * 1024 * 1024 * 1024

/** The requests a range of data is cut into. */
export function cutData(session: NbdSession, range: Extent): Extent[] {
  const { minimumBytes, maximumBytes } = session.blockSizes
  const limitBytes = Math.min(PAYLOAD_BYTES_MAX, maximumBytes)
  return cut(range, Math.max(minimumBytes, limitBytes - (limitBytes % minimumBytes)))
}

/** The requests a range is cut into where nothing but the range is sent. */
export function cutRange(range: Extent): Extent[] {
  return cut(range, RANGE_BYTES_MAX)
}

/** The same for what the server answers without touching the disk. */
export function cutStatus({ replyStyle }: NbdSession, range: Extent): Extent[] {
  return cut(range, replyStyle === 'extended' ? EXTENDED_STATUS_BYTES_MAX : RANGE_BYTES_MAX)
}

/** The same for what the server does without writing data, or refuses. */
export function cutQuickly({ replyStyle }: NbdSession, range: Extent): Extent[] {
  return cut(range, replyStyle === 'extended' ? QUICK_BYTES_MAX : COMPACT_BYTES_MAX)
}

/** Pieces end at multiples of `pieceBytes` of the disk. */
function cut({ offsetBytes, lengthBytes }: Extent, pieceBytes: number): Extent[] {
  const pieces: Extent[] = []
  const endBytes = offsetBytes + lengthBytes
  for (let at = offsetBytes; at < endBytes;) {
    const nextAt = Math.min(endBytes, (Math.floor(at / pieceBytes) + 1) * pieceBytes)
    pieces.push({ offsetBytes: at, lengthBytes: nextAt - at })
    at = nextAt
  }
  return pieces
}

/** The smallest range around this one that the server's minimum block size allows, within the disk. */
export function alignOutwards(session: NbdSession, { offsetBytes, lengthBytes }: Extent): Extent {
  const { minimumBytes } = session.blockSizes
  const start = offsetBytes - (offsetBytes % minimumBytes)
  const end = Math.min(session.sizeBytes, Math.ceil((offsetBytes + lengthBytes) / minimumBytes) * minimumBytes)
  return { offsetBytes: start, lengthBytes: end - start }
}

/** Part of a range: whole blocks of the server's minimum size, or less than such a block. */
export interface BlockPiece extends Extent {
  readonly wholeBlocks: boolean
}

/** A range cut into the part of a block at its start, the whole blocks, and the part of a block at its end. */
export function cutAtBlocks(session: NbdSession, range: Extent): BlockPiece[] {
  const { minimumBytes } = session.blockSizes
  const end = range.offsetBytes + range.lengthBytes
  const isAligned = range.offsetBytes % minimumBytes === 0 && (end % minimumBytes === 0 || end === session.sizeBytes)
  if (isAligned && range.lengthBytes > 0) return [{ ...range, wholeBlocks: true }]
  const wholeStart = Math.min(end, Math.ceil(range.offsetBytes / minimumBytes) * minimumBytes)
  const wholeEnd = end === session.sizeBytes ? end : Math.max(wholeStart, end - (end % minimumBytes))
  const cuts = [
    { offsetBytes: range.offsetBytes, lengthBytes: wholeStart - range.offsetBytes, wholeBlocks: false },
    { offsetBytes: wholeStart, lengthBytes: wholeEnd - wholeStart, wholeBlocks: true },
    { offsetBytes: wholeEnd, lengthBytes: end - wholeEnd, wholeBlocks: false },
  ]
  return cuts.filter(({ lengthBytes }) => lengthBytes > 0)
}
