import type { BlockExtent } from '../../block/block-source.ts'
import { NBD_CMD_FLAG_DF } from '../wire/nbd-constants.ts'
import { encodeNone, encodeOffsetData, encodeOffsetHole, encodeSimpleReply } from '../wire/reply-encoding.ts'
import type { ServedRequest } from './served-request.ts'

/** Shorter holes are sent as the zeros they are: a chunk of their own would cost more than it saves. */
const HOLE_BYTES_MIN = 32 * 1024
/** More extents than this in one read are looked up no further: the rest is read. */
const EXTENTS_MAX = 2048
const READS_AT_ONCE_MAX = 4

/**
 * The reply to a READ: all of it or, by a rejection, nothing. Known zeros are told and neither read nor sent, unless the
 * client wants one piece or cannot be told (NBD proto.md, "NBD_CMD_READ").
 */
export async function serveRead(serving: ServedRequest): Promise<Buffer[]> {
  const { request, style, bytes, served, signal } = serving
  const { offsetBytes, lengthBytes } = request
  if (style === 'simple') {
    if (lengthBytes > 0) await served.source.read(offsetBytes, bytes, { signal })
    return [encodeSimpleReply(request.cookie, 0), bytes]
  }
  if (lengthBytes === 0) return [encodeNone(style, request)]
  const isWhole = (request.commandFlags & NBD_CMD_FLAG_DF) !== 0
  const parts = isWhole ? [{ offsetBytes, lengthBytes, zero: false }] : await findParts(serving)
  await readParts(serving, parts)
  return parts.flatMap((part, index) => {
    const place = { ...part, isLast: index === parts.length - 1 }
    if (part.zero) return [encodeOffsetHole(style, request, place)]
    return [encodeOffsetData(style, request, place), partOf(serving, part)]
  })
}

type ReadPart = Pick<BlockExtent, 'offsetBytes' | 'lengthBytes' | 'zero'>

/** What is to be sent, in order: large holes, and what lies between them. */
async function findParts({ request, served, signal }: ServedRequest): Promise<ReadPart[]> {
  const { offsetBytes, lengthBytes } = request
  const endBytes = offsetBytes + lengthBytes
  if (lengthBytes < HOLE_BYTES_MIN) return [{ offsetBytes, lengthBytes, zero: false }]
  const parts: ReadPart[] = []
  let at = offsetBytes
  const data = (toBytes: number): void => {
    if (toBytes > at) parts.push({ offsetBytes: at, lengthBytes: toBytes - at, zero: false })
  }
  for (const extent of await served.extents.list({ offsetBytes, lengthBytes }, { extentsMax: EXTENTS_MAX, signal })) {
    if (!extent.zero || extent.lengthBytes < HOLE_BYTES_MIN) continue
    data(extent.offsetBytes)
    parts.push({ offsetBytes: extent.offsetBytes, lengthBytes: extent.lengthBytes, zero: true })
    at = extent.offsetBytes + extent.lengthBytes
  }
  data(endBytes)
  return parts
}

async function readParts(serving: ServedRequest, parts: readonly ReadPart[]): Promise<void> {
  const { served, signal } = serving
  const left = parts.filter((part) => !part.zero).values()
  const readNext = async (): Promise<void> => {
    for (const part of left) await served.source.read(part.offsetBytes, partOf(serving, part), { signal })
  }
  const ends = await Promise.allSettled(Array.from({ length: READS_AT_ONCE_MAX }, readNext))
  for (const end of ends) if (end.status === 'rejected') throw end.reason
}

function partOf({ bytes, request }: ServedRequest, { offsetBytes, lengthBytes }: ReadPart): Buffer {
  const start = offsetBytes - request.offsetBytes
  return bytes.subarray(start, start + lengthBytes)
}
