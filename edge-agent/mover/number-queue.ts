const BLOCK_LENGTH = 4096

/** Numbers, first in, first out, 8 bytes each. */
export class NumberQueue {
  readonly #blocks: Float64Array[] = []
  /** In the first block. */
  #head = 0
  /** In the last block. */
  #tail = BLOCK_LENGTH
  #length = 0

  get length(): number {
    return this.#length
  }

  push(value: number): void {
    if (this.#tail === BLOCK_LENGTH) {
      this.#blocks.push(new Float64Array(BLOCK_LENGTH))
      this.#tail = 0
    }
    const last = this.#blocks.at(-1)
    if (last !== undefined) last[this.#tail] = value
    this.#tail += 1
    this.#length += 1
  }

  shift(): number | undefined {
    if (this.#length === 0) return undefined
    const value = this.#blocks[0]?.[this.#head]
    this.#head += 1
    this.#length -= 1
    if (this.#head === BLOCK_LENGTH || this.#length === 0) {
      this.#blocks.shift()
      this.#head = 0
      if (this.#blocks.length === 0) this.#tail = BLOCK_LENGTH
    }
    return value
  }
}
