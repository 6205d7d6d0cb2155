import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import { expectOnDisk } from '../block/block-range.ts'
import type { BlockSource, CallOptions } from '../block/block-source.ts'
import { verifiedSource } from '../repository/verified-source.ts'
import type { ArchivedDisk } from './archive.ts'
import type { LostRanges } from './lost-ranges.ts'

export interface SalvageOptions {
  readonly idKey: Uint8Array
  /** Gets what is damaged, which then reads as zeros. Absent: reading it rejects. */
  readonly lost?: LostRanges | undefined
}

/**
 * The disk with every chunk checked against its id before a byte of it is given out. With `lost`, chunks that are damaged
 * or gone read as zeros, and each is told of before the read that met it resolves; what else fails rejects as ever. The
 * disk stays its owner's to close.
 */
export function salvagedSource(disk: ArchivedDisk, { idKey, lost }: SalvageOptions): BlockSource {
  const { source, chunkIds, lostIds, diskId } = disk
  const verified = verifiedSource(source, { chunkIds, idKey })
  for (const range of lostIds) lost?.add(range)
  const readChunk = async (offsetBytes: number, into: Uint8Array, options: CallOptions): Promise<void> => {
    try {
      await verified.read(offsetBytes, into, options)
    } catch (error) {
      options.signal.throwIfAborted()
      if (lost === undefined || !isDamage(error)) throw error
      into.fill(0)
      const start = offsetBytes - (offsetBytes % chunkIds.chunkSizeBytes)
      const lengthBytes = Math.min(chunkIds.chunkSizeBytes, chunkIds.sizeBytes - start)
      lost.add({ diskId, offsetBytes: start, lengthBytes, why: error instanceof Error ? error.message : '' })
    }
  }
  return {
    sizeBytes: source.sizeBytes,
    extents: (range, options) => verified.extents(range, options),
    read: async (offsetBytes, into, options) => {
      expectOnDisk(chunkIds.sizeBytes, offsetBytes, into.length)
      if (lost === undefined) {
        await verified.read(offsetBytes, into, options)
        return
      }
      try {
        await verified.read(offsetBytes, into, options)
      } catch (error) {
        options.signal.throwIfAborted()
        if (!isDamage(error)) throw error
        for (const [at, part] of partsByChunk(offsetBytes, into, chunkIds.chunkSizeBytes)) {
          await readChunk(at, part, options)
        }
      }
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
}

/** Bytes that are not there or are not what was stored. A storage that does not answer is something else. */
export function isDamage(error: unknown): boolean {
  if (isPlatformError(error, 'repository.chunk_corrupt') || isPlatformError(error, 'source.read_failed')) return true
  return isPlatformError(error, 'repository.io_failed') && isPlatformError(error.cause, 'source.read_failed')
}

function* partsByChunk(offsetBytes: number, into: Uint8Array, chunkSizeBytes: number): Generator<[number, Uint8Array]> {
  for (let at = 0; at < into.length;) {
    const lengthBytes = chunkSizeBytes - ((offsetBytes + at) % chunkSizeBytes)
    const part = into.subarray(at, at + lengthBytes)
    yield [offsetBytes + at, part]
    at += part.length
  }
}
