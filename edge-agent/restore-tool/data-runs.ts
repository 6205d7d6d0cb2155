import type { Extent } from '@sendense/shared/domain/extent.ts'
import type { BlockSource, CallOptions } from '../block/block-source.ts'

/** Read at once; a multiple of every chunk size. */
export const RUN_BYTES = 4 * 1024 * 1024

/** What of a disk is not known to be zeros, in disk order, in runs of at most 4 MiB that end where chunks end. */
export async function* dataRuns(source: BlockSource, { signal }: CallOptions): AsyncGenerator<Extent> {
  if (source.sizeBytes === 0) return
  for await (const extent of source.extents({ offsetBytes: 0, lengthBytes: source.sizeBytes }, { signal })) {
    if (extent.zero) continue
    for (let at = 0; at < extent.lengthBytes; at += RUN_BYTES) {
      const offsetBytes = extent.offsetBytes + at
      yield { offsetBytes, lengthBytes: Math.min(RUN_BYTES, extent.lengthBytes - at) }
    }
  }
}
