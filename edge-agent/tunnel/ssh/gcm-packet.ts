import assert from 'node:assert/strict'
import type { CipherGCMTypes } from 'node:crypto'

export const TAG_BYTES = 16

/** @param name as OpenSSL calls it */
export function gcmAlgorithm(name: string): CipherGCMTypes {
  assert(name === 'aes-128-gcm' || name === 'aes-256-gcm', `no AES-GCM: ${name}`)
  return name
}

/** The invocation counter of RFC 5647, 7.1: the last 8 of 12 bytes, big-endian. */
export function countNonceUp(nonce: Buffer): void {
  const low = (nonce.readUInt32BE(8) + 1) >>> 0
  nonce.writeUInt32BE(low, 8)
  if (low === 0) nonce.writeUInt32BE((nonce.readUInt32BE(4) + 1) >>> 0, 4)
}
