import { Buffer } from 'node:buffer'

/**
 * Gives the memory below an array back at once, instead of when the collector comes by: V8 collects the whole heap for each
 * 64 MiB that were allocated outside of it, which costs more than what was done with them.
 *
 * For arrays that nobody else has views of, such as the results of zlib and ciphers; the array is empty afterwards. Does
 * nothing to memory that is shared, to arrays that begin inside of theirs, and to parts of what may be Node's pool.
 */
export function releaseMemory(bytes: Uint8Array): void {
  const { buffer, byteOffset } = bytes
  if (!(buffer instanceof ArrayBuffer) || byteOffset !== 0 || buffer.detached) return
  if (buffer.byteLength !== bytes.byteLength && buffer.byteLength <= Buffer.poolSize) return
  // A new buffer of nothing takes the old one's place, and the old one's memory is freed (ECMA-262, ArrayBuffer.transfer).
  buffer.transfer(0)
}
