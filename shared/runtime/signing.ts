import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto'
import {
  KeyDelegation,
  type PayloadType,
  payloadTypes,
  SignedEnvelope,
  type TrustRoot,
} from '../contracts/signed-envelope.ts'
import { PlatformError } from '../errors/platform-error.ts'

/** An Ed25519 key that signs, with the id verifiers know it by. */
export interface SigningKey {
  readonly keyId: string
  readonly privateKey: KeyObject
  /** SPKI DER, base64. */
  readonly publicKey: string
}

/** First 32 hexadecimal digits of SHA-256 over the SPKI DER. */
export function keyIdOf(publicKey: string): string {
  return createHash('sha256').update(Buffer.from(publicKey, 'base64')).digest('hex').slice(0, 32)
}

export function generateSigningKey(): SigningKey {
  return signingKeyOf(generateKeyPairSync('ed25519').privateKey)
}

/** @param pem PKCS#8, as `exportSigningKey` writes it */
export function importSigningKey(pem: string): SigningKey {
  return signingKeyOf(createPrivateKey(pem))
}

export function exportSigningKey(key: SigningKey): string {
  return key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

function signingKeyOf(privateKey: KeyObject): SigningKey {
  const publicKey = createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).toString('base64')
  return { keyId: keyIdOf(publicKey), privateKey, publicKey }
}

/** Pre-authentication encoding of DSSE protocol.md. */
function preAuthentication(payloadType: string, payload: Uint8Array): Buffer {
  const head = `DSSEv1 ${Buffer.byteLength(payloadType)} ${payloadType} ${payload.byteLength} `
  return Buffer.concat([Buffer.from(head), payload])
}

/** Signs the UTF-8 JSON of `value`. The receiver reads exactly these bytes. */
export function signEnvelope(
  payloadType: PayloadType,
  value: unknown,
  key: SigningKey,
  delegation?: SignedEnvelope['delegation'],
): SignedEnvelope {
  const payload = Buffer.from(JSON.stringify(value))
  const signature = sign(null, preAuthentication(payloadType, payload), key.privateKey)
  return {
    payloadType,
    payload: payload.toString('base64'),
    signature: { keyId: key.keyId, value: signature.toString('base64') },
    ...(delegation === undefined ? {} : { delegation }),
  }
}

/** A root key lends `delegation.publicKey` its classes. Goes along with every envelope that key signs. */
export function signDelegation(
  delegation: KeyDelegation,
  rootKey: SigningKey,
): NonNullable<SignedEnvelope['delegation']> {
  const envelope = signEnvelope(payloadTypes.keyDelegation, delegation, rootKey)
  return { payload: envelope.payload, signature: envelope.signature }
}

/**
 * Parses an envelope and checks it against one known key.
 * @returns the signed value, as unknown JSON: the caller parses it
 * @throws PlatformError `command.invalid` where it is no envelope of that type, `command.signature_invalid`
 */
export function openEnvelope(bytes: Uint8Array | string, payloadType: PayloadType, publicKey: string): unknown {
  const envelope = parseEnvelope(bytes, payloadType)
  return openWith(envelope, payloadType, publicKey)
}

/**
 * Parses an envelope signed by a root key or by a key a root key delegated to.
 * @returns the signed value as unknown JSON, and the delegation that lent the signer its classes
 *   (undefined: a root key signed it itself, all classes)
 * @throws PlatformError `command.invalid`, `command.signature_invalid`
 */
export function openRootedEnvelope(
  bytes: Uint8Array | string,
  payloadType: PayloadType,
  trustRoot: TrustRoot,
  now: Date,
): { value: unknown; delegation: KeyDelegation | undefined } {
  const envelope = parseEnvelope(bytes, payloadType)
  const pinned = trustRoot.keys.find((key) => key.keyId === envelope.signature.keyId)
  if (pinned !== undefined) return { value: openWith(envelope, payloadType, pinned.publicKey), delegation: undefined }
  const delegation = openDelegation(envelope, trustRoot, now)
  return { value: openWith(envelope, payloadType, delegation.publicKey), delegation }
}

function openDelegation(envelope: SignedEnvelope, trustRoot: TrustRoot, now: Date): KeyDelegation {
  const link = envelope.delegation
  const root = trustRoot.keys.find((key) => key.keyId === link?.signature.keyId)
  if (link === undefined || root === undefined) {
    throw new PlatformError('command.signature_invalid', `no pinned root vouches for key ${envelope.signature.keyId}`)
  }
  const signed = { payloadType: payloadTypes.keyDelegation, payload: link.payload, signature: link.signature }
  const parsed = KeyDelegation.safeParse(openWith(signed, payloadTypes.keyDelegation, root.publicKey))
  if (
    !parsed.success ||
    parsed.data.keyId !== envelope.signature.keyId ||
    keyIdOf(parsed.data.publicKey) !== parsed.data.keyId
  ) {
    throw new PlatformError('command.signature_invalid', `the delegation does not name key ${envelope.signature.keyId}`)
  }
  if (now < new Date(parsed.data.notBefore) || now >= new Date(parsed.data.notAfter)) {
    throw new PlatformError('command.signature_invalid', `the delegation of key ${parsed.data.keyId} is not valid now`)
  }
  return parsed.data
}

function parseEnvelope(bytes: Uint8Array | string, payloadType: PayloadType): SignedEnvelope {
  const text = typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString('utf8')
  const parsed = SignedEnvelope.safeParse(parseJson(text))
  if (!parsed.success)
    throw new PlatformError('command.invalid', 'the message is no signed envelope', { cause: parsed.error })
  if (parsed.data.payloadType !== payloadType) {
    throw new PlatformError(
      'command.invalid',
      `the message is of type ${parsed.data.payloadType}, wanted ${payloadType}`,
    )
  }
  return parsed.data
}

function openWith(envelope: SignedEnvelope, payloadType: PayloadType, publicKey: string): unknown {
  const payload = Buffer.from(envelope.payload, 'base64')
  const key = createPublicKey({ key: Buffer.from(publicKey, 'base64'), format: 'der', type: 'spki' })
  if (!verify(null, preAuthentication(payloadType, payload), key, Buffer.from(envelope.signature.value, 'base64'))) {
    throw new PlatformError(
      'command.signature_invalid',
      `the signature of key ${envelope.signature.keyId} does not match`,
    )
  }
  return parseJson(payload.toString('utf8'))
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new PlatformError('command.invalid', 'the message is no JSON', { cause: error })
  }
}
