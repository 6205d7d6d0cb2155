import { createHash } from 'node:crypto'
import { type PayloadType, SignedEnvelope } from '@sendense/shared/contracts/signed-envelope.ts'
import { keyIdOf, openEnvelope, type SigningKey, signEnvelope } from '@sendense/shared/runtime/signing.ts'

/** Who signs what is sealed in a repository, and whose signatures are believed. */
export interface SealKeys {
  readonly signingKey: SigningKey
  /** SPKI DER, base64, by key id; the signing key is among them. */
  readonly publicKeys: ReadonlyMap<string, string>
}

/** @param trustedPublicKeys SPKI DER, base64: keys that are believed, the own one among them or not */
export function sealKeysOf(signingKey: SigningKey, trustedPublicKeys: readonly string[]): SealKeys {
  const publicKeys = new Map([signingKey.publicKey, ...trustedPublicKeys].map((key) => [keyIdOf(key), key]))
  return { signingKey, publicKeys }
}

/** The bytes of a sealed file: a signed envelope as compact JSON. FORMAT.md, "Manifests". */
export function sealBytes(payloadType: PayloadType, value: unknown, { signingKey }: SealKeys): Buffer {
  return Buffer.from(JSON.stringify(signEnvelope(payloadType, value, signingKey)))
}

/**
 * What a sealed file says, as unknown JSON, and the SHA-256 of the signed payload.
 * @throws an Error that says why where it is not exactly what a believed key signed
 */
export function openSealedBytes(
  bytes: Uint8Array,
  payloadType: PayloadType,
  { publicKeys }: SealKeys,
): { readonly value: unknown; readonly payloadHash: string } {
  const envelope = SignedEnvelope.parse(JSON.parse(Buffer.from(bytes).toString('utf8')))
  for (const text of [envelope.payload, envelope.signature.value]) expectCanonical(text)
  const publicKey = publicKeys.get(envelope.signature.keyId)
  if (publicKey === undefined) throw new Error(`it is signed by the unknown key ${envelope.signature.keyId}`)
  const value = openEnvelope(JSON.stringify(envelope), payloadType, publicKey)
  const payload = Buffer.from(envelope.payload, 'base64')
  return { value, payloadHash: createHash('sha256').update(payload).digest('hex') }
}

/** Base64 has spare bits at its end that decoders ignore: with them set a file would not be the one that was sealed. */
function expectCanonical(base64: string): void {
  if (Buffer.from(base64, 'base64').toString('base64') !== base64) throw new Error('its encoding was changed')
}
