import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { seededRandom } from '@sendense/shared/runtime/seeded-random.ts'
import type { BlockSink } from '../block-sink.ts'
import type { BlockSource } from '../block-source.ts'

export interface FaultOptions {
  readonly seed: number
  /** Share of calls that fail, 0 to 1. */
  readonly errorRate: number
}

/** A source some of whose reads and extents reject with `source.read_failed`, the same ones for the same seed. It owns `source`. */
export function faultySource(source: BlockSource, options: FaultOptions): BlockSource {
  const isFault = faults(options)
  return {
    sizeBytes: source.sizeBytes,
    async *extents(range, call) {
      for await (const extent of source.extents(range, call)) {
        if (isFault()) throw injected('source.read_failed', 'question for extents', extent.offsetBytes)
        yield extent
      }
    },
    read: async (offsetBytes, into, call) => {
      call.signal.throwIfAborted()
      if (isFault()) throw injected('source.read_failed', 'read', offsetBytes)
      await source.read(offsetBytes, into, call)
    },
    [Symbol.asyncDispose]: async () => await source[Symbol.asyncDispose](),
  }
}

/**
 * A sink some of whose writes reject with `target.write_failed`, the same ones for the same seed; a failed
 * write has written its first half, as a full disk does. It owns `sink`.
 */
export function faultySink(sink: BlockSink, options: FaultOptions): BlockSink {
  const isFault = faults(options)
  return {
    sizeBytes: sink.sizeBytes,
    write: async (offsetBytes, bytes, call) => {
      call.signal.throwIfAborted()
      if (isFault()) {
        await sink.write(offsetBytes, bytes.subarray(0, Math.floor(bytes.length / 2)), call)
        throw injected('target.write_failed', 'write', offsetBytes)
      }
      await sink.write(offsetBytes, bytes, call)
    },
    writeZeroes: async (offsetBytes, lengthBytes, call) => {
      call.signal.throwIfAborted()
      if (isFault()) throw injected('target.write_failed', 'write of zeros', offsetBytes)
      await sink.writeZeroes(offsetBytes, lengthBytes, call)
    },
    flush: async (call) => {
      call.signal.throwIfAborted()
      if (isFault()) throw injected('target.write_failed', 'flush', 0)
      await sink.flush(call)
    },
    [Symbol.asyncDispose]: async () => await sink[Symbol.asyncDispose](),
  }
}

function injected(code: 'source.read_failed' | 'target.write_failed', what: string, offsetBytes: number) {
  return new PlatformError(code, `injected fault: ${what} at byte ${offsetBytes}`, { details: { offsetBytes } })
}

/** A seeded sequence of yes and no. */
function faults({ seed, errorRate }: FaultOptions): () => boolean {
  const random = seededRandom(seed)
  return () => random() < errorRate
}
