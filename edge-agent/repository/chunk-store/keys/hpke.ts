import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto'
import { hkdfExpand, hkdfExtract } from '../format/hkdf.ts'
import { privateKeyFromBytes, publicKeyBytes, sharedSecret, X25519_KEY_BYTES } from './x25519-key.ts'

/** An AEAD of RFC 9180, 7.3. */
export interface HpkeAead {
  readonly id: number
  readonly cipherName: 'aes-128-gcm' | 'aes-256-gcm'
  readonly keyBytes: number
}
export const hpkeAeads = {
  /** Only the RFC's own test vectors use it. */
  aes128Gcm: { id: 0x0001, cipherName: 'aes-128-gcm', keyBytes: 16 },
  aes256Gcm: { id: 0x0002, cipherName: 'aes-256-gcm', keyBytes: 32 },
} as const satisfies Record<string, HpkeAead>

const KEM_ID = 0x0020
const KDF_ID = 0x0001
const MODE_BASE = 0x00
const NONCE_BYTES = 12
const TAG_BYTES = 16
const HASH_BYTES = 32
const VERSION_LABEL = Buffer.from('HPKE-v1')
const KEM_SUITE = Buffer.concat([Buffer.from('KEM'), u16(KEM_ID)])
const NONE = new Uint8Array(0)

export interface HpkeMessage {
  /** 32 bytes: RFC 9180's `enc`. */
  readonly encapsulatedKey: Uint8Array
  /** With the tag at its end. */
  readonly ciphertext: Uint8Array
}

export interface HpkeContext {
  /** What the message is for; both sides know it. */
  readonly info: Uint8Array
  readonly aad: Uint8Array
}

/**
 * DeriveKeyPair of DHKEM(X25519, HKDF-SHA256) (RFC 9180, 7.1.3).
 * @param keyMaterial at least 32 bytes that cannot be guessed
 */
export function deriveKeyPair(keyMaterial: Uint8Array): KeyObject {
  const pseudoRandomKey = labeledExtract(KEM_SUITE, NONE, 'dkp_prk', keyMaterial)
  const bytes = labeledExpand(KEM_SUITE, pseudoRandomKey, 'sk', NONE, X25519_KEY_BYTES)
  const key = privateKeyFromBytes(bytes)
  for (const secret of [pseudoRandomKey, bytes]) secret.fill(0)
  return key
}

/**
 * Single-shot encryption of RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256. Anybody can make a message:
 * that it opens does not say who sent it.
 * @param publicKey the receiver's, 32 bytes
 * @param ephemeral a key pair used for this message only: `deriveKeyPair` of 32 random bytes
 */
export function hpkeSeal(
  publicKey: Uint8Array,
  context: HpkeContext,
  plain: Uint8Array,
  ephemeral: KeyObject,
  aead: HpkeAead = hpkeAeads.aes256Gcm,
): HpkeMessage {
  const encapsulatedKey = publicKeyBytes(ephemeral)
  const secret = kemSecret(sharedSecret(ephemeral, publicKey), encapsulatedKey, publicKey)
  const { key, nonce } = keySchedule(secret, context.info, aead)
  const cipher = createCipheriv(aead.cipherName, key, nonce, { authTagLength: TAG_BYTES })
  key.fill(0)
  cipher.setAAD(context.aad)
  const ciphertext = Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()])
  return { encapsulatedKey, ciphertext }
}

/**
 * Opens a message made by `hpkeSeal`. Throws an Error where it was not made for this key and context.
 * @returns memory of its own
 */
export function hpkeOpen(
  privateKey: KeyObject,
  context: HpkeContext,
  message: HpkeMessage,
  aead: HpkeAead = hpkeAeads.aes256Gcm,
): Buffer {
  const { encapsulatedKey, ciphertext } = message
  if (ciphertext.length < TAG_BYTES || encapsulatedKey.length !== X25519_KEY_BYTES) throw new Error('it is cut short')
  const secret = kemSecret(sharedSecret(privateKey, encapsulatedKey), encapsulatedKey, publicKeyBytes(privateKey))
  const { key, nonce } = keySchedule(secret, context.info, aead)
  const decipher = createDecipheriv(aead.cipherName, key, nonce, { authTagLength: TAG_BYTES })
  key.fill(0)
  decipher.setAAD(context.aad)
  decipher.setAuthTag(ciphertext.subarray(-TAG_BYTES))
  const plain = decipher.update(ciphertext.subarray(0, -TAG_BYTES))
  try {
    decipher.final()
  } catch (error) {
    plain.fill(0)
    throw error
  }
  return plain
}

/** ExtractAndExpand of RFC 9180, 4.1. Erases `dh`. */
export function kemSecret(dh: Buffer, encapsulatedKey: Uint8Array, publicKey: Uint8Array): Buffer {
  const pseudoRandomKey = labeledExtract(KEM_SUITE, NONE, 'eae_prk', dh)
  const kemContext = Buffer.concat([encapsulatedKey, publicKey])
  const secret = labeledExpand(KEM_SUITE, pseudoRandomKey, 'shared_secret', kemContext, HASH_BYTES)
  for (const used of [dh, pseudoRandomKey]) used.fill(0)
  return secret
}

/** KeySchedule of RFC 9180, 5.1, for the first message of base mode. Erases `secret`. */
export function keySchedule(secret: Buffer, info: Uint8Array, aead: HpkeAead): { key: Buffer; nonce: Buffer } {
  const suite = Buffer.concat([Buffer.from('HPKE'), u16(KEM_ID), u16(KDF_ID), u16(aead.id)])
  const pskIdHash = labeledExtract(suite, NONE, 'psk_id_hash', NONE)
  const infoHash = labeledExtract(suite, NONE, 'info_hash', info)
  const scheduleContext = Buffer.concat([Uint8Array.of(MODE_BASE), pskIdHash, infoHash])
  const scheduleSecret = labeledExtract(suite, secret, 'secret', NONE)
  const key = labeledExpand(suite, scheduleSecret, 'key', scheduleContext, aead.keyBytes)
  const nonce = labeledExpand(suite, scheduleSecret, 'base_nonce', scheduleContext, NONCE_BYTES)
  for (const used of [secret, scheduleSecret]) used.fill(0)
  return { key, nonce }
}

function labeledExtract(suite: Uint8Array, salt: Uint8Array, label: string, keyMaterial: Uint8Array): Buffer {
  const labeled = Buffer.concat([VERSION_LABEL, suite, Buffer.from(label), keyMaterial])
  const pseudoRandomKey = hkdfExtract(salt, labeled)
  labeled.fill(0)
  return pseudoRandomKey
}

function labeledExpand(
  suite: Uint8Array,
  pseudoRandomKey: Uint8Array,
  label: string,
  info: Uint8Array,
  lengthBytes: number,
): Buffer {
  const labeledInfo = Buffer.concat([u16(lengthBytes), VERSION_LABEL, suite, Buffer.from(label), info])
  return hkdfExpand(pseudoRandomKey, labeledInfo, lengthBytes)
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}
