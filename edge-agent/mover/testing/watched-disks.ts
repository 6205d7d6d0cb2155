import type { BlockSink } from '../../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../../block/block-source.ts'

/** What tests see of the requests to a copy's disks. */
export interface RequestWatch {
  /** Requests that have begun and not settled. */
  underWay: number
  /** Requests that have begun. */
  count: number
  /** Called when each begins. */
  onRequest?: (count: number) => void
  /** Turns of the event loop that each takes. */
  readonly turns: () => number
}

/** Both disks with each request counted and slowed down. They own what they wrap. */
export function watchedDisks(source: BlockSource, sink: BlockSink, watch: RequestWatch) {
  const watched = async (work: () => Promise<void>, { signal }: CallOptions): Promise<void> => {
    watch.count += 1
    watch.underWay += 1
    try {
      watch.onRequest?.(watch.count)
      for (let turn = watch.turns(); turn > 0; turn -= 1) await new Promise(setImmediate)
      signal.throwIfAborted()
      await work()
    } finally {
      watch.underWay -= 1
    }
  }
  return { source: watchedSource(source, watched), sink: watchedSink(sink, watched) }
}

type Watched = (work: () => Promise<void>, options: CallOptions) => Promise<void>

function watchedSource(source: BlockSource, watched: Watched): BlockSource {
  return {
    sizeBytes: source.sizeBytes,
    async *extents(range, options) {
      for await (const extent of source.extents(range, options)) {
        await watched(async () => undefined, options)
        yield extent
      }
    },
    read: async (offsetBytes, into, options) => {
      await watched(async () => await source.read(offsetBytes, into, options), options)
    },
    [Symbol.asyncDispose]: async () => await source[Symbol.asyncDispose](),
  }
}

function watchedSink(sink: BlockSink, watched: Watched): BlockSink {
  return {
    sizeBytes: sink.sizeBytes,
    write: async (offsetBytes, bytes, options) => {
      await watched(async () => await sink.write(offsetBytes, bytes, options), options)
    },
    writeZeroes: async (offsetBytes, lengthBytes, options) => {
      await watched(async () => await sink.writeZeroes(offsetBytes, lengthBytes, options), options)
    },
    flush: async (options) => await watched(async () => await sink.flush(options), options),
    [Symbol.asyncDispose]: async () => await sink[Symbol.asyncDispose](),
  }
}
