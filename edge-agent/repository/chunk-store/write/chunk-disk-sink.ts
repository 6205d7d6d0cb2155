import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockSink } from '../../../block/block-sink.ts'
import { chunkKinds } from '../format/registered-ids.ts'
import type { PackWriter } from './pack-writer.ts'

/** A disk whose chunks go to packs. It owns the writer. */
export function chunkDiskSink(sizeBytes: number, writer: PackWriter): BlockSink {
  return {
    sizeBytes,
    chunks: { put: (chunk, parts, options) => writer.put(chunk.id, chunkKinds.data, parts, options) },
    write: async () => await Promise.reject(onlyChunks()),
    writeZeroes: async () => await Promise.reject(onlyChunks()),
    flush: async (options) => await writer.flush(options),
    [Symbol.asyncDispose]: async () => await writer[Symbol.asyncDispose](),
  }
}

function onlyChunks(): PlatformError {
  return new PlatformError('input.invalid', 'a disk of a chunk repository takes whole chunks')
}
