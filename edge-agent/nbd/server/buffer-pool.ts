import assert from 'node:assert/strict'

const SMALLEST_BYTES = 4096
/** Freed buffers beyond this are given back to the system. */
const KEPT_BYTES_MAX = 64 * 1024 * 1024

/** A buffer of the pool, until it is released. */
export interface BufferLease {
  /** What it counts against the pool's limit. */
  readonly sizeBytes: number
  /** As long as was asked for; what it holds is what somebody left in it. Made at the first use. */
  readonly bytes: Buffer
  /** Once; nobody touches the bytes afterwards. */
  release(): void
}

/**
 * Buffers of all connections of a server under one limit, used again last in, first out: a buffer just used lies in the
 * processor's cache. Sizes are powers of two, so at most half of a buffer is wasted.
 */
export class BufferPool {
  readonly #limitBytes: number
  readonly #free = new Map<number, Buffer[]>()
  readonly #waiting: { readonly sizeBytes: number; readonly give: () => void }[] = []
  #leasedBytes = 0
  #freeBytes = 0

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  /** Bytes that count against the limit now. */
  get leasedBytes(): number {
    return this.#leasedBytes
  }

  /** Undefined where there is no room now, or others wait for some. */
  tryLease(lengthBytes: number): BufferLease | undefined {
    const sizeBytes = this.#sizeOf(lengthBytes)
    if (this.#waiting.length > 0 || this.#leasedBytes + sizeBytes > this.#limitBytes) return undefined
    return this.#lease(sizeBytes, lengthBytes)
  }

  /**
   * Calls `onLease` as soon as there is room, in the order of asking.
   * @returns takes the wish back; does nothing once it was granted
   */
  waitForLease(lengthBytes: number, onLease: (lease: BufferLease) => void): () => void {
    const sizeBytes = this.#sizeOf(lengthBytes)
    const place = { sizeBytes, give: () => onLease(this.#lease(sizeBytes, lengthBytes)) }
    this.#waiting.push(place)
    this.#serveWaiting()
    return () => {
      const at = this.#waiting.indexOf(place)
      if (at === -1) return
      this.#waiting.splice(at, 1)
      this.#serveWaiting()
    }
  }

  #sizeOf(lengthBytes: number): number {
    const sizeBytes = Math.max(SMALLEST_BYTES, 2 ** Math.ceil(Math.log2(lengthBytes)))
    assert(sizeBytes <= this.#limitBytes, 'a buffer is never larger than the whole pool')
    return sizeBytes
  }

  #lease(sizeBytes: number, lengthBytes: number): BufferLease {
    this.#leasedBytes += sizeBytes
    let buffer: Buffer | undefined
    let isOver = false
    const take = (): Buffer => this.#take(sizeBytes)
    return {
      sizeBytes,
      get bytes() {
        assert(!isOver, 'a released buffer is somebody else’s')
        buffer ??= take()
        return buffer.subarray(0, lengthBytes)
      },
      release: () => {
        assert(!isOver, 'a buffer is released once')
        isOver = true
        this.#leasedBytes -= sizeBytes
        if (buffer !== undefined) this.#keep(buffer)
        this.#serveWaiting()
      },
    }
  }

  #take(sizeBytes: number): Buffer {
    const kept = this.#free.get(sizeBytes)?.pop()
    if (kept === undefined) return Buffer.allocUnsafeSlow(sizeBytes)
    this.#freeBytes -= sizeBytes
    return kept
  }

  #keep(buffer: Buffer): void {
    if (this.#freeBytes + buffer.length > Math.min(KEPT_BYTES_MAX, this.#limitBytes - this.#leasedBytes)) return
    this.#freeBytes += buffer.length
    const sameSize = this.#free.get(buffer.length)
    if (sameSize === undefined) this.#free.set(buffer.length, [buffer])
    else sameSize.push(buffer)
  }

  #serveWaiting(): void {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (this.#leasedBytes + first.sizeBytes > this.#limitBytes) return
      this.#waiting.shift()
      first.give()
    }
  }
}
