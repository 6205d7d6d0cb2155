import { createHash } from 'node:crypto'
import {
  FOOTER_BYTES,
  packCorrupt,
  type PackFooter,
  type PackName,
  PACK_MAX_BYTES,
  parsePackFooter,
  SHA256_BYTES,
} from './pack-footer.ts'

/**
 * Whether a pack is, byte for byte, what its writer closed. Needs no key: anyone can scrub.
 * @param pieces the whole object from its start, in pieces of any length; each only until the next is asked for
 * Rejects with `repository.pack_corrupt`, `repository.format_unsupported`, or what `pieces` rejects with.
 */
export async function checkPack(
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  name: PackName,
): Promise<PackFooter> {
  const hash = createHash('sha256')
  let end = Buffer.alloc(0)
  let sizeBytes = 0
  for await (const piece of pieces) {
    sizeBytes += piece.length
    if (sizeBytes > PACK_MAX_BYTES) throw packCorrupt(name, 'it is larger than any pack')
    if (piece.length >= FOOTER_BYTES) {
      const body = piece.length - FOOTER_BYTES
      hash.update(end).update(piece.subarray(0, body))
      end = Buffer.from(piece.subarray(body))
    } else {
      const joined = Buffer.concat([end, piece])
      const body = Math.max(0, joined.length - FOOTER_BYTES)
      hash.update(joined.subarray(0, body))
      end = joined.subarray(body)
    }
  }
  const footer = parsePackFooter(end, sizeBytes, name)
  const hashAt = FOOTER_BYTES - SHA256_BYTES
  if (!hash.update(end.subarray(0, hashAt)).digest().equals(end.subarray(hashAt))) {
    throw packCorrupt(name, 'its bytes are not those that were written')
  }
  return footer
}
