import { ChunkHash } from '../chunk-hash.ts'
import { ChunkIds } from '../chunk-ids.ts'

/** For tests: the ids of a disk with this content. */
export function chunkIdsOf(
  content: Uint8Array,
  { chunkSizeBytes, idKey }: { readonly chunkSizeBytes: number; readonly idKey: Uint8Array },
): ChunkIds {
  const ids = new ChunkIds(content.length, chunkSizeBytes)
  const hash = new ChunkHash(idKey)
  for (let index = 0; index < ids.count; index += 1) {
    ids.set(index, hash.idOf(content.subarray(index * chunkSizeBytes, (index + 1) * chunkSizeBytes)))
  }
  return ids
}
