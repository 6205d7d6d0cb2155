import type { NbdEndpoint } from '../../block/block-endpoint.ts'
import { expectOnDisk } from '../../block/block-range.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { LazyDisk } from './lazy-disk.ts'
import { type NbdSink, openNbdSink } from './nbd-sink.ts'
import { type NbdSource, openNbdSource } from './nbd-source.ts'

export interface LazyNbdOptions {
  readonly endpoint: NbdEndpoint
  /**
   * As the platform said. The first use rejects with `source.disk_size_changed` or `target.disk_size_mismatch` when the
   * export has another size.
   */
  readonly sizeBytes: number
  /** As BlockSource and BlockSink have it. Absent: one. */
  readonly openersMax?: number
}

/** A source that connects at its first use: often only its `endpoint` is used, by another thread. */
export function lazyNbdSource({ endpoint, sizeBytes, openersMax = 1 }: LazyNbdOptions): NbdSource {
  const disk = new LazyDisk(async (call) => await openNbdSource(endpoint, call), {
    sizeBytes,
    wrongSize: 'source.disk_size_changed',
  })
  return {
    sizeBytes,
    endpoint,
    openersMax,
    async *extents(range, call) {
      call.signal.throwIfAborted()
      expectOnDisk(sizeBytes, range.offsetBytes, range.lengthBytes)
      yield* (await disk.open(call)).extents(range, call)
    },
    read: async (offsetBytes, into, call) => {
      call.signal.throwIfAborted()
      expectOnDisk(sizeBytes, offsetBytes, into.length)
      await (await disk.open(call)).read(offsetBytes, into, call)
    },
    cache: async (range, call) => {
      call.signal.throwIfAborted()
      expectOnDisk(sizeBytes, range.offsetBytes, range.lengthBytes)
      await (await disk.open(call)).cache(range, call)
    },
    [Symbol.asyncDispose]: async () => await disk.close(),
  }
}

/** A sink that connects at its first use: often only its `endpoint` is used, by another thread. */
export function lazyNbdSink({ endpoint, sizeBytes, openersMax = 1 }: LazyNbdOptions): NbdSink {
  const disk = new LazyDisk(async (call) => await openNbdSink(endpoint, call), {
    sizeBytes,
    wrongSize: 'target.disk_size_mismatch',
  })
  const openFor = async (offsetBytes: number, lengthBytes: number, call: CallOptions): Promise<NbdSink> => {
    call.signal.throwIfAborted()
    expectOnDisk(sizeBytes, offsetBytes, lengthBytes)
    return await disk.open(call)
  }
  return {
    sizeBytes,
    endpoint,
    openersMax,
    write: async (offsetBytes, bytes, call) => {
      await (await openFor(offsetBytes, bytes.length, call)).write(offsetBytes, bytes, call)
    },
    writeZeroes: async (offsetBytes, lengthBytes, call) => {
      await (await openFor(offsetBytes, lengthBytes, call)).writeZeroes(offsetBytes, lengthBytes, call)
    },
    zeroFast: async (offsetBytes, lengthBytes, call) => {
      return await (await openFor(offsetBytes, lengthBytes, call)).zeroFast(offsetBytes, lengthBytes, call)
    },
    trim: async (offsetBytes, lengthBytes, call) => {
      await (await openFor(offsetBytes, lengthBytes, call)).trim(offsetBytes, lengthBytes, call)
    },
    flush: async (call) => await (await openFor(0, 0, call)).flush(call),
    [Symbol.asyncDispose]: async () => await disk.close(),
  }
}
