import { generateKeyPairSync, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { keyPurposes } from '../format/hkdf.ts'
import { type Argon2Parameters, type KeyFile, keyFileAad, keyFileInvalid, Recipient } from '../format/key-file.ts'
import { keyFileKey } from '../format/object-keys.ts'
import { deriveKeyPair, hpkeOpen, hpkeSeal } from './hpke.ts'
import { KeyRing, type KeySources } from './key-ring.ts'
import { passphraseSeed } from './passphrase-seed.ts'
import { publicKeyBytes } from './x25519-key.ts'

const DERIVATIONS_MAX = 16

/** What somebody has who may open a repository. */
export type RecipientSecret =
  | { readonly kind: 'passphrase'; readonly passphrase: string }
  /** 32 bytes of a recovery kit. */
  | { readonly kind: 'recovery'; readonly secret: Uint8Array }
  /** An agent's or an escrow's own X25519 key. */
  | { readonly kind: 'private-key'; readonly privateKey: KeyObject }

interface NewRecipient {
  readonly recipientId: string
  /** For people: `Escrow key of Example MSP`. */
  readonly label: string
  readonly createdAt: Date
}

/** Recovery kits and passphrases have recipients of their own: recovery-kit.ts, passphrase-recipient.ts. */
export function newKeyRecipient(kind: 'escrow' | 'agent', publicKey: KeyObject, recipient: NewRecipient): Recipient {
  return recipientOf(kind, publicKey, recipient)
}

/** Throws `input.invalid` for what no recipient can be. */
export function recipientOf(
  kind: Recipient['kind'],
  key: KeyObject,
  { recipientId, label, createdAt }: NewRecipient,
  argon2?: Argon2Parameters,
): Recipient {
  if (key.asymmetricKeyType !== 'x25519') {
    throw new PlatformError('input.invalid', `the key of ${label} is no X25519 key but ${key.asymmetricKeyType}`)
  }
  const publicKey = publicKeyBytes(key).toString('base64')
  const fields = { recipientId, kind, label, publicKey, createdAt: createdAt.toISOString() }
  const parsed = Recipient.safeParse(argon2 === undefined ? fields : { ...fields, argon2 })
  if (parsed.success) return parsed.data
  throw new PlatformError('input.invalid', `no recipient can be made of this: ${parsed.error.message}`)
}

/** A new X25519 key of an agent or an escrow. */
export function generateRecipientKey(): KeyObject {
  return generateKeyPairSync('x25519').privateKey
}

/** PKCS#8 PEM, in clear: for secret files only. `openssl pkey` reads it. */
export function exportRecipientKey(privateKey: KeyObject): string {
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

/** Throws `input.invalid` unless it is the PEM of an X25519 private key. */
export function importRecipientKey(pem: string): KeyObject {
  return expectX25519(() => createPrivateKey(pem))
}

/** SPKI PEM, as an escrow hands it out: `openssl pkey -pubout` writes it. Throws `input.invalid`. */
export function importRecipientPublicKey(pem: string): KeyObject {
  return expectX25519(() => {
    if (pem.includes('PRIVATE')) throw new Error('it is a private key')
    return createPublicKey(pem)
  })
}

function expectX25519(read: () => KeyObject): KeyObject {
  try {
    const key = read()
    if (key.asymmetricKeyType !== 'x25519') throw new Error(`it is of type ${key.asymmetricKeyType}`)
    return key
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new PlatformError('input.invalid', `not an X25519 key in PEM: ${why}`, { cause: error })
  }
}

/** Seals a ring to one of its recipients. Needs nothing secret of the recipient. */
export function sealRing(ring: KeyRing, recipient: Recipient, sources: KeySources): KeyFile {
  const { repositoryId, ringNumber, ringId } = ring
  const header = { repositoryId, ringNumber, ringId, recipient }
  const keyMaterial = sources.randomBytes(32)
  const ephemeral = deriveKeyPair(keyMaterial)
  keyMaterial.fill(0)
  const context = { info: Buffer.from(keyPurposes.keyFile), aad: keyFileAad(header) }
  const plain = ring.toBytes()
  const message = hpkeSeal(Buffer.from(recipient.publicKey, 'base64'), context, plain, ephemeral)
  plain.fill(0)
  return { ...header, encapsulatedKey: message.encapsulatedKey, sealedRing: message.ciphertext }
}

/**
 * Finds the private key that one secret is for the recipients of key files. Derives each passphrase once a salt, and at
 * most with 16 salts: so many files of strangers do not hold anybody up.
 */
export class RecipientKeys {
  readonly #secret: RecipientSecret
  readonly #derived = new Map<string, KeyObject>()

  constructor(secret: RecipientSecret) {
    this.#secret = secret
  }

  /** Undefined where the file is somebody else's. */
  async find(recipient: Recipient): Promise<KeyObject | undefined> {
    const privateKey = await this.#keyFor(recipient)
    if (privateKey === undefined) return undefined
    return publicKeyBytes(privateKey).toString('base64') === recipient.publicKey ? privateKey : undefined
  }

  async #keyFor(recipient: Recipient): Promise<KeyObject | undefined> {
    const secret = this.#secret
    switch (secret.kind) {
      case 'passphrase':
        return recipient.argon2 === undefined ? undefined : await this.#derive(secret.passphrase, recipient.argon2)
      case 'recovery':
        return recipient.kind === 'recovery' ? deriveKeyPair(secret.secret) : undefined
      case 'private-key':
        return recipient.kind === 'agent' || recipient.kind === 'escrow' ? secret.privateKey : undefined
      default:
        throw new TypeError(`no such secret: ${String(secret satisfies never)}`)
    }
  }

  async #derive(passphrase: string, argon2: Argon2Parameters): Promise<KeyObject | undefined> {
    const name = JSON.stringify(argon2)
    const known = this.#derived.get(name)
    if (known !== undefined || this.#derived.size >= DERIVATIONS_MAX) return known
    const seed = await passphraseSeed(passphrase, argon2)
    const privateKey = deriveKeyPair(seed)
    seed.fill(0)
    this.#derived.set(name, privateKey)
    return privateKey
  }
}

/**
 * Opens a file with the key of its recipient. Throws `repository.key_file_invalid` where it does not open with it, or
 * holds another ring than it says.
 */
export function openRing(file: KeyFile, privateKey: KeyObject): KeyRing {
  const objectKey = keyFileKey(file, file.recipient.recipientId)
  const context = { info: Buffer.from(keyPurposes.keyFile), aad: keyFileAad(file) }
  let plain: Buffer
  try {
    const { encapsulatedKey, sealedRing } = file
    plain = hpkeOpen(privateKey, context, { encapsulatedKey, ciphertext: sealedRing })
  } catch (error) {
    throw keyFileInvalid(objectKey, error)
  }
  try {
    const ring = KeyRing.parse(plain)
    const isItsOwn =
      ring.repositoryId === file.repositoryId && ring.ringNumber === file.ringNumber && ring.ringId === file.ringId
    if (!isItsOwn) throw keyFileInvalid(objectKey, new Error(`it holds ring ${ring.ringNumber}`))
    return ring
  } finally {
    plain.fill(0)
  }
}
