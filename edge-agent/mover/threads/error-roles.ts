import type { BlockSink, ChunkSink } from '../../block/block-sink.ts'
import type { BlockSource } from '../../block/block-source.ts'
import type { DiskRole } from './mover-task.ts'

/** Remembers which disk of a copy an error came from. */
export class ErrorRoles {
  readonly #roles = new WeakMap<object, DiskRole>()

  /** Of the error itself, or of what caused it. */
  of(error: unknown): DiskRole | undefined {
    if (typeof error !== 'object' || error === null) return undefined
    return this.#roles.get(error) ?? (error instanceof Error ? this.of(error.cause) : undefined)
  }

  /** Runs a call to that disk; what it rejects with is remembered, the first time. */
  async note<T>(role: DiskRole, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      this.#remember(role, error)
      throw error
    }
  }

  #remember(role: DiskRole, error: unknown): void {
    const isNew = typeof error === 'object' && error !== null && !this.#roles.has(error)
    if (isNew) this.#roles.set(error, role)
  }

  /** The same source; it owns `source`. */
  ofSource(role: DiskRole, source: BlockSource): BlockSource {
    const note = async <T>(work: () => Promise<T>): Promise<T> => await this.note(role, work)
    return {
      sizeBytes: source.sizeBytes,
      async *extents(range, options) {
        const extents = source.extents(range, options)[Symbol.asyncIterator]()
        try {
          for (;;) {
            const next = await note(async () => await extents.next())
            if (next.done === true) return
            yield next.value
          }
        } finally {
          await extents.return?.()
        }
      },
      read: async (offsetBytes, into, options) => {
        try {
          await source.read(offsetBytes, into, options)
        } catch (error) {
          this.#remember(role, error)
          throw error
        }
      },
      [Symbol.asyncDispose]: async () => await source[Symbol.asyncDispose](),
    }
  }

  #ofChunks(role: DiskRole, chunks: ChunkSink): ChunkSink {
    return {
      put: (chunk, parts, options) => {
        const taken = chunks.put(chunk, parts, options)
        return taken === undefined ? undefined : this.note(role, async () => await taken)
      },
    }
  }

  /** The same sink; it owns `sink`. */
  ofSink(role: DiskRole, sink: BlockSink): BlockSink {
    const note = async (work: () => Promise<void>): Promise<void> => await this.note(role, work)
    const { chunks } = sink
    return {
      sizeBytes: sink.sizeBytes,
      ...(chunks === undefined ? {} : { chunks: this.#ofChunks(role, chunks) }),
      ...(sink.cannotFlush === undefined ? {} : { cannotFlush: sink.cannotFlush }),
      write: async (offsetBytes, bytes, options) => {
        try {
          await sink.write(offsetBytes, bytes, options)
        } catch (error) {
          this.#remember(role, error)
          throw error
        }
      },
      writeZeroes: async (offsetBytes, lengthBytes, options) => {
        await note(async () => await sink.writeZeroes(offsetBytes, lengthBytes, options))
      },
      flush: async (options) => await note(async () => await sink.flush(options)),
      [Symbol.asyncDispose]: async () => await sink[Symbol.asyncDispose](),
    }
  }
}
