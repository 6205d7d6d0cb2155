import type { BlockSink } from '../block/block-sink.ts'
import type { BlockSource } from '../block/block-source.ts'
import { toRepositoryError, withRepositoryErrors } from './repository-errors.ts'

/** A sink whose errors are the repository's, for those who open its endpoint by themselves too. It owns `sink`. */
export function repositorySink(sink: BlockSink, name: string): BlockSink {
  const what = `writing ${name}`
  return {
    sizeBytes: sink.sizeBytes,
    ...(sink.endpoint === undefined ? {} : { endpoint: sink.endpoint }),
    ...(sink.openersMax === undefined ? {} : { openersMax: sink.openersMax }),
    ...(sink.chunks === undefined ? {} : { chunks: sink.chunks }),
    translateError: (error) => toRepositoryError(error, what),
    write: async (offsetBytes, bytes, options) =>
      await withRepositoryErrors(what, async () => await sink.write(offsetBytes, bytes, options)),
    writeZeroes: async (offsetBytes, lengthBytes, options) =>
      await withRepositoryErrors(what, async () => await sink.writeZeroes(offsetBytes, lengthBytes, options)),
    flush: async (options) => await withRepositoryErrors(what, async () => await sink.flush(options)),
    [Symbol.asyncDispose]: async () => await sink[Symbol.asyncDispose](),
  }
}

/** A source whose errors are the repository's, for those who open its endpoint by themselves too. It owns `source`. */
export function repositorySource(source: BlockSource, name: string): BlockSource {
  const what = `reading ${name}`
  return {
    sizeBytes: source.sizeBytes,
    ...(source.endpoint === undefined ? {} : { endpoint: source.endpoint }),
    ...(source.openersMax === undefined ? {} : { openersMax: source.openersMax }),
    translateError: (error) => toRepositoryError(error, what),
    async *extents(range, options) {
      const extents = source.extents(range, options)[Symbol.asyncIterator]()
      try {
        for (;;) {
          const next = await withRepositoryErrors(what, async () => await extents.next())
          if (next.done === true) return
          yield next.value
        }
      } finally {
        await extents.return?.()
      }
    },
    read: async (offsetBytes, into, options) =>
      await withRepositoryErrors(what, async () => await source.read(offsetBytes, into, options)),
    [Symbol.asyncDispose]: async () => await source[Symbol.asyncDispose](),
  }
}
