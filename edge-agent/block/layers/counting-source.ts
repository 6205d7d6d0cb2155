import type { BlockSource } from '../block-source.ts'

/** Tells `onRead` the length of every read that is asked of `source`, before it is done. It owns `source`. */
export function countingSource(source: BlockSource, onRead: (lengthBytes: number) => void): BlockSource {
  return {
    sizeBytes: source.sizeBytes,
    extents: (range, options) => source.extents(range, options),
    read: (offsetBytes, into, options) => {
      onRead(into.length)
      return source.read(offsetBytes, into, options)
    },
    [Symbol.asyncDispose]: async () => await source[Symbol.asyncDispose](),
  }
}
