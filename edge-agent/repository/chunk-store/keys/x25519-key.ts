import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from 'node:crypto'

export const X25519_KEY_BYTES = 32
/** What stands before the 32 bytes of a key in DER (RFC 8410, 4 and 7). */
const PKCS8_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex')
const SPKI_HEAD = Buffer.from('302a300506032b656e032100', 'hex')

/** @param bytes 32 bytes as RFC 7748 writes private keys; not kept */
export function privateKeyFromBytes(bytes: Uint8Array): KeyObject {
  assert.equal(bytes.length, X25519_KEY_BYTES)
  const der = Buffer.concat([PKCS8_HEAD, bytes])
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  der.fill(0)
  return key
}

/** @param bytes 32 bytes as RFC 7748 writes public keys */
export function publicKeyFromBytes(bytes: Uint8Array): KeyObject {
  assert.equal(bytes.length, X25519_KEY_BYTES)
  return createPublicKey({ key: Buffer.concat([SPKI_HEAD, bytes]), format: 'der', type: 'spki' })
}

/** 32 bytes, of a public key or of the one that belongs to a private key. */
export function publicKeyBytes(key: KeyObject): Buffer {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  return publicKey.export({ type: 'spki', format: 'der' }).subarray(SPKI_HEAD.length)
}

/**
 * X25519 (RFC 7748, 6.1). Throws where the result would be all zeros: the public key is one of the few that give
 * everybody the same secret.
 */
export function sharedSecret(privateKey: KeyObject, publicKey: Uint8Array): Buffer {
  return diffieHellman({ privateKey, publicKey: publicKeyFromBytes(publicKey) })
}
