/** Reads fields that follow each other, little-endian. Throws an Error that says so where the bytes end too soon. */
export class ByteReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  get remainingBytes(): number {
    return this.#bytes.length - this.#at
  }

  /** A view. */
  bytes(lengthBytes: number): Buffer {
    if (lengthBytes > this.remainingBytes) throw new Error(`it ends after ${this.#bytes.length} bytes`)
    this.#at += lengthBytes
    return this.#bytes.subarray(this.#at - lengthBytes, this.#at)
  }

  u32(): number {
    return this.bytes(4).readUInt32LE()
  }

  /** Throws also where the value is no safe integer. */
  u64(): number {
    const value = this.bytes(8).readBigUInt64LE()
    if (value > Number.MAX_SAFE_INTEGER) throw new Error(`it holds a number too large to be one: ${value}`)
    return Number(value)
  }

  /** Throws unless all bytes were read. */
  end(): void {
    if (this.remainingBytes > 0) throw new Error(`it has ${this.remainingBytes} bytes too many`)
  }
}
