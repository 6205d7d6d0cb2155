import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import { expectOnDisk } from '../block/block-range.ts'
import type { BlockSource } from '../block/block-source.ts'
import { ChunkHash } from '../mover/chunk-hash.ts'
import type { ChunkIds } from '../mover/chunk-ids.ts'
import { chunkCorrupt } from '../mover/run-content.ts'
import { chunkExtents } from './chunk-extents.ts'

export interface VerifiedSourceOptions {
  /** Of the same disk as the source. */
  readonly chunkIds: ChunkIds
  readonly idKey: Uint8Array
}

/**
 * A restore point's disk that is never read wrong: each chunk is checked against its id before a byte of it is given out.
 * Rejects with `repository.chunk_corrupt` where they differ. Which chunks are zeros the ids say, not the files. Reads of
 * whole chunks cost nothing but the hash; others read the chunks around them. It owns `source`.
 */
export function verifiedSource(source: BlockSource, { chunkIds, idKey }: VerifiedSourceOptions): BlockSource {
  const { sizeBytes } = source
  const hash = new ChunkHash(idKey)
  return {
    sizeBytes,
    extents: (range, options) => chunkExtents(chunkIds, range, options),
    read: async (offsetBytes, into, { signal }) => {
      signal.throwIfAborted()
      expectOnDisk(sizeBytes, offsetBytes, into.length)
      if (into.length === 0) return
      const around = chunksAround(chunkIds, { offsetBytes, lengthBytes: into.length })
      const isWhole = around.offsetBytes === offsetBytes && around.lengthBytes === into.length
      const bytes = isWhole ? into : new Uint8Array(around.lengthBytes)
      await source.read(around.offsetBytes, bytes, { signal })
      expectIds(chunkIds, hash, around.offsetBytes, bytes)
      const start = offsetBytes - around.offsetBytes
      if (!isWhole) into.set(bytes.subarray(start, start + into.length))
    },
    [Symbol.asyncDispose]: async () => await source[Symbol.asyncDispose](),
  }
}

function chunksAround({ chunkSizeBytes, sizeBytes }: ChunkIds, range: Extent): Extent {
  const offsetBytes = range.offsetBytes - (range.offsetBytes % chunkSizeBytes)
  const endBytes = Math.min(sizeBytes, Math.ceil(endOf(range) / chunkSizeBytes) * chunkSizeBytes)
  return { offsetBytes, lengthBytes: endBytes - offsetBytes }
}

function expectIds(chunkIds: ChunkIds, hash: ChunkHash, offsetBytes: number, bytes: Uint8Array): void {
  const { chunkSizeBytes } = chunkIds
  for (let at = 0; at < bytes.length; at += chunkSizeBytes) {
    const chunk = bytes.subarray(at, at + chunkSizeBytes)
    const id = chunkIds.at((offsetBytes + at) / chunkSizeBytes)
    if (Buffer.compare(hash.idOf(chunk), id) === 0) continue
    throw chunkCorrupt('the restore point is damaged', offsetBytes + at, chunk.length)
  }
}
