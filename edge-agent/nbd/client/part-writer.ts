import type { CallOptions } from '../../block/block-source.ts'
import { alignOutwards } from './nbd-ranges.ts'
import type { NbdRequester } from './nbd-requester.ts'
import { readRange, writeRange } from './nbd-transfer.ts'

/**
 * Writes less than a block of the server's minimum size by reading the block around it, one after the other: two such
 * writes may share a block.
 */
export class PartWriter {
  readonly #connection: NbdRequester
  #last: Promise<void> = Promise.resolve()

  constructor(connection: NbdRequester) {
    this.#connection = connection
  }

  /** @param options as of `writeRange` */
  async write(
    offsetBytes: number,
    bytes: Uint8Array,
    { signal, commandFlags = 0 }: CallOptions & { readonly commandFlags?: number },
  ): Promise<void> {
    const before = this.#last
    const mine = Promise.withResolvers<void>()
    this.#last = mine.promise
    await before
    try {
      signal.throwIfAborted()
      const around = alignOutwards(this.#connection.session, { offsetBytes, lengthBytes: bytes.length })
      const block = new Uint8Array(around.lengthBytes)
      await readRange(this.#connection, around, block, { signal })
      block.set(bytes, offsetBytes - around.offsetBytes)
      await writeRange(this.#connection, around.offsetBytes, block, { signal, commandFlags })
    } finally {
      mine.resolve()
    }
  }
}
