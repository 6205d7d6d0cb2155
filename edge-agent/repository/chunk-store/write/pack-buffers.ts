import type { CallOptions } from '../../../block/block-source.ts'

/** Who holds buffers of a pool. Its first one it always gets, so that nobody waits for somebody who waits too. */
export interface BufferHolder {
  heldCount: number
}

interface Waiting {
  readonly holder: BufferHolder
  readonly resolve: (buffer: Uint8Array) => void
}

/**
 * Buffers of one size that the packs of a thread are made in: as many as its share of memory, and one for each holder.
 * Buffers are handed out in the order in which they were asked for; those that come back are handed out again.
 */
export class PackBuffers {
  readonly #bufferBytes: number
  readonly #buffersMax: number
  readonly #free: Uint8Array[] = []
  readonly #waiting: Waiting[] = []
  #heldCount = 0

  constructor({ bufferBytes, memoryBytes }: { readonly bufferBytes: number; readonly memoryBytes: number }) {
    this.#bufferBytes = bufferBytes
    this.#buffersMax = Math.max(1, Math.floor(memoryBytes / bufferBytes))
  }

  /** Buffers in use. */
  get heldCount(): number {
    return this.#heldCount
  }

  /** A buffer at once, or undefined where the holder has to wait for one. Its content is whatever was there. */
  tryTake(holder: BufferHolder): Uint8Array | undefined {
    const mayHave = holder.heldCount === 0 || (this.#waiting.length === 0 && this.#heldCount < this.#buffersMax)
    return mayHave ? this.#handOut(holder) : undefined
  }

  /** Rejects with the signal's reason. */
  async take(holder: BufferHolder, { signal }: CallOptions): Promise<Uint8Array> {
    signal.throwIfAborted()
    const first = this.tryTake(holder)
    if (first !== undefined) return first
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
    const waiting = { holder, resolve }
    this.#waiting.push(waiting)
    const onAbort = (): void => {
      const at = this.#waiting.indexOf(waiting)
      if (at === -1) return
      this.#waiting.splice(at, 1)
      reject(signal.reason)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      return await promise
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** Nobody uses the buffer any more, the kernel included. */
  giveBack(holder: BufferHolder, buffer: Uint8Array): void {
    holder.heldCount -= 1
    this.#heldCount -= 1
    if (this.#heldCount < this.#buffersMax) this.#free.push(buffer)
    this.#serve()
  }

  #serve(): void {
    for (;;) {
      // Who has none any more, because his pack was put, is served first: the others wait for puts of their own.
      const needy = this.#waiting.findIndex(({ holder }) => holder.heldCount === 0)
      const hasRoom = this.#heldCount < this.#buffersMax
      const [next] = needy === -1 && !hasRoom ? [] : this.#waiting.splice(Math.max(0, needy), 1)
      if (next === undefined) return
      next.resolve(this.#handOut(next.holder))
    }
  }

  #handOut(holder: BufferHolder): Uint8Array {
    holder.heldCount += 1
    this.#heldCount += 1
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#bufferBytes)
  }
}
