import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { exportSigningKey, generateSigningKey, importSigningKey } from '@sendense/shared/runtime/signing.ts'

const ALGORITHM = 'ssh-ed25519'
/** `string "ssh-ed25519"` and the length of the `string` that follows (RFC 8709, 4). */
const HEAD = Buffer.concat([
  Buffer.from([0, 0, 0, ALGORITHM.length]),
  Buffer.from(ALGORITHM),
  Buffer.from([0, 0, 0, 32]),
])
const RAW_BYTES = 32

/**
 * An Ed25519 key pair as SSH uses it. Made and used by node:crypto: ssh2's own generator makes keys nobody can read
 * where the public key begins with a zero byte, one in 256.
 */
export interface Ed25519Key {
  /** What travels: `string "ssh-ed25519"`, `string` of 32 bytes. */
  readonly publicKey: Buffer
  /** `SHA256:` and 43 characters of base64, as `ssh-keygen -l` prints it. */
  readonly fingerprint: string
  sign(blob: Buffer): Buffer
}

/** A new private key: PKCS#8, PEM. */
export function generateEd25519Key(): string {
  return exportSigningKey(generateSigningKey())
}

/**
 * @param pem as `generateEd25519Key` makes it
 * @throws PlatformError `config.invalid` where it is no such key; `name` says which one
 */
export function readEd25519Key(pem: string, name: string): Ed25519Key {
  try {
    const { privateKey } = importSigningKey(pem)
    const publicKey = travellingForm(createPublicKey(privateKey))
    return { publicKey, fingerprint: fingerprintOf(publicKey), sign: (blob) => sign(null, blob, privateKey) }
  } catch (cause) {
    throw new PlatformError('config.invalid', `${name} is no Ed25519 private key`, { cause })
  }
}

/** @param publicKey as it travels */
export function fingerprintOf(publicKey: Uint8Array): string {
  return `SHA256:${createHash('sha256').update(publicKey).digest('base64').replace('=', '')}`
}

/** Whether that is an Ed25519 public key as it travels. */
export function isEd25519PublicKey(publicKey: Buffer): boolean {
  return publicKey.length === HEAD.length + RAW_BYTES && publicKey.subarray(0, HEAD.length).equals(HEAD)
}

/** Whether `publicKey` is an Ed25519 key, and `signature` its signature of `blob`. */
export function isSignedBy(publicKey: Buffer, blob: Buffer, signature: Buffer): boolean {
  if (!isEd25519PublicKey(publicKey)) return false
  const x = publicKey.subarray(HEAD.length).toString('base64url')
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
  return verify(null, blob, key, signature)
}

function travellingForm(key: KeyObject): Buffer {
  const { kty, crv, x } = key.export({ format: 'jwk' })
  if (kty !== 'OKP' || crv !== 'Ed25519' || x === undefined)
    throw new Error(`a key of kind ${String(kty)} ${String(crv)}`)
  return Buffer.concat([HEAD, Buffer.from(x, 'base64url')])
}
