import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import { expectOnDisk } from '../block/block-range.ts'
import type { BlockExtent, CallOptions } from '../block/block-source.ts'
import type { ChunkIds } from '../mover/chunk-ids.ts'

/** BlockSource.extents of a restore point's disk: which chunks are zeros its ids say, for certain. */
export async function* chunkExtents(
  chunkIds: ChunkIds,
  range: Extent,
  { signal }: CallOptions,
): AsyncGenerator<BlockExtent> {
  signal.throwIfAborted()
  expectOnDisk(chunkIds.sizeBytes, range.offsetBytes, range.lengthBytes)
  const { chunkSizeBytes } = chunkIds
  const endBytes = endOf(range)
  let start = range.offsetBytes
  while (start < endBytes) {
    signal.throwIfAborted()
    let index = Math.floor(start / chunkSizeBytes)
    const zero = chunkIds.isZero(index)
    do index += 1
    while (index * chunkSizeBytes < endBytes && chunkIds.isZero(index) === zero)
    const stop = Math.min(index * chunkSizeBytes, endBytes)
    yield { offsetBytes: start, lengthBytes: stop - start, zero, dirty: true }
    start = stop
  }
}
