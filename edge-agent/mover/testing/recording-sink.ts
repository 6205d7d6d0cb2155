import type { BlockSink } from '../../block/block-sink.ts'

const KIB = 1024

/** The sink, and the calls it got, for tests: `write 320+64` and `zero 0+256` in KiB, `flush`. It owns `sink`. */
export function recordingSink(sink: BlockSink): { readonly sink: BlockSink; readonly calls: string[] } {
  const calls: string[] = []
  return {
    calls,
    sink: {
      sizeBytes: sink.sizeBytes,
      write: async (offsetBytes, bytes, options) => {
        calls.push(`write ${offsetBytes / KIB}+${bytes.length / KIB}`)
        await sink.write(offsetBytes, bytes, options)
      },
      writeZeroes: async (offsetBytes, lengthBytes, options) => {
        calls.push(`zero ${offsetBytes / KIB}+${lengthBytes / KIB}`)
        await sink.writeZeroes(offsetBytes, lengthBytes, options)
      },
      flush: async (options) => {
        calls.push('flush')
        await sink.flush(options)
      },
      [Symbol.asyncDispose]: async () => await sink[Symbol.asyncDispose](),
    },
  }
}
