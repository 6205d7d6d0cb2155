import type { CallOptions } from '../../block/block-source.ts'
import { createMemoryDisk, type MemoryDisk } from '../../block/memory-disk.ts'
import type { ServedSink } from './nbd-export.ts'

/** A disk in memory that can be served writable, with trims and quick zeros, and that counts what is asked of it. */
export interface ServedMemoryDisk {
  readonly disk: MemoryDisk
  readonly sink: ServedSink
  readonly counts: { flushes: number; trims: number; zeros: number; fastZeros: number }
}

/** @param content its first content; the size where it is a number */
export function createServedMemoryDisk(content: Uint8Array | number): ServedMemoryDisk {
  const sizeBytes = typeof content === 'number' ? content : content.length
  const disk = createMemoryDisk({ sizeBytes, ...(typeof content === 'number' ? {} : { content }) })
  const counts = { flushes: 0, trims: 0, zeros: 0, fastZeros: 0 }
  const zero = async (offsetBytes: number, lengthBytes: number, options: CallOptions): Promise<void> =>
    await disk.writeZeroes(offsetBytes, lengthBytes, options)
  const sink: ServedSink = {
    sizeBytes,
    write: async (offsetBytes, bytes, options) => await disk.write(offsetBytes, bytes, options),
    writeZeroes: async (offsetBytes, lengthBytes, options) => {
      counts.zeros += 1
      await zero(offsetBytes, lengthBytes, options)
    },
    trim: async (offsetBytes, lengthBytes, options) => {
      counts.trims += 1
      await zero(offsetBytes, lengthBytes, options)
    },
    zeroFast: async (offsetBytes, lengthBytes, options) => {
      counts.fastZeros += 1
      await zero(offsetBytes, lengthBytes, options)
      return true
    },
    flush: async (options) => {
      counts.flushes += 1
      await disk.flush(options)
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
  return { disk, sink, counts }
}
