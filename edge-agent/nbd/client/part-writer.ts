import type { CallOptions } from '../../block/block-source.ts'
import type { NbdConnection } from './nbd-connection.ts'
import { alignOutwards } from './nbd-ranges.ts'
import { readRange, writeRange } from './nbd-transfer.ts'

/**
 * Writes less than a block of the server's minimum size by reading the block around it, one after the other: two such
 * writes may share a block.
 */
export class PartWriter {
  readonly #connection: NbdConnection
  #last: Promise<void> = Promise.resolve()

  constructor(connection: NbdConnection) {
    this.#connection = connection
  }

  async write(offsetBytes: number, bytes: Uint8Array, { signal }: CallOptions): Promise<void> {
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
      await writeRange(this.#connection, around.offsetBytes, block, { signal })
    } finally {
      mine.resolve()
    }
  }
}
