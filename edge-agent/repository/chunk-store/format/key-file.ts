import { createHash } from 'node:crypto'
import { Hash256, Instant } from '@sendense/shared/contracts/identifiers.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import { isUuid } from './identity-bytes.ts'
import { parseUtf8Json } from './object-context.ts'
import { keyFileKey } from './object-keys.ts'

export const PUBLIC_KEY_BYTES = 32
const SEALED_RING_MAX_CHARACTERS = 1024 * 1024

/** Base64 of exactly so many bytes, in the one way that encoders write it. */
function base64Of(lengthBytes: number) {
  return z.base64().refine((text) => {
    const bytes = Buffer.from(text, 'base64')
    return bytes.length === lengthBytes && bytes.toString('base64') === text
  }, `base64 of ${lengthBytes} bytes`)
}

const Uuid = z.string().refine(isUuid, 'a UUID in lower case')

/**
 * How a passphrase becomes a key: Argon2id version 19 (RFC 9106), 32 bytes. The bounds keep a file that somebody else
 * wrote from taking all memory or all day.
 */
export const Argon2Parameters = z.strictObject({
  salt: base64Of(32),
  memoryKib: z
    .int()
    .min(8 * 1024)
    .max(1024 * 1024),
  passes: z.int().min(1).max(10),
  lanes: z.int().min(1).max(8),
})
export type Argon2Parameters = z.infer<typeof Argon2Parameters>

export const recipientKinds = ['passphrase', 'escrow', 'agent', 'recovery'] as const

/** Who can open the key ring. Nothing in it is secret. */
export const Recipient = z
  .strictObject({
    recipientId: Uuid,
    kind: z.enum(recipientKinds),
    /** For people: `Escrow key of Example MSP`. */
    label: z.string().max(200),
    /** X25519, 32 bytes as RFC 7748 writes them, base64. */
    publicKey: base64Of(PUBLIC_KEY_BYTES),
    argon2: Argon2Parameters.optional(),
    createdAt: Instant,
  })
  .refine(
    (recipient) => (recipient.kind === 'passphrase') === (recipient.argon2 !== undefined),
    'argon2 for passphrases',
  )
export type Recipient = z.infer<typeof Recipient>

const FileFields = {
  format: z.literal('sendense-key-file'),
  version: z.literal(1),
  repositoryId: Uuid,
  ringNumber: z.int().positive().max(99_999_999),
  ringId: z.string().regex(/^[0-9a-f]{16}$/),
  recipient: Recipient,
} as const
const KeyFileHeader = z.strictObject(FileFields)
type KeyFileHeader = z.infer<typeof KeyFileHeader>
const KeyFileText = z.strictObject({
  ...FileFields,
  encapsulatedKey: base64Of(PUBLIC_KEY_BYTES),
  sealedRing: z.base64().max(SEALED_RING_MAX_CHARACTERS),
  sha256: Hash256,
})

/** The key ring, sealed to one recipient. FORMAT.md, "Key file". */
export interface KeyFile {
  readonly repositoryId: string
  readonly ringNumber: number
  readonly ringId: string
  readonly recipient: Recipient
  /** 32 bytes: HPKE's `enc`. */
  readonly encapsulatedKey: Uint8Array
  /** HPKE's ciphertext with its tag. */
  readonly sealedRing: Uint8Array
}

/** What the sealing authenticates: everything the file says in clear. */
export function keyFileAad(file: Omit<KeyFile, 'encapsulatedKey' | 'sealedRing'>): Uint8Array {
  return Buffer.from(JSON.stringify(headerOf(file)))
}

export function encodeKeyFile(file: KeyFile): Uint8Array {
  const fields = {
    ...headerOf(file),
    encapsulatedKey: Buffer.from(file.encapsulatedKey).toString('base64'),
    sealedRing: Buffer.from(file.sealedRing).toString('base64'),
  }
  const text = { ...fields, sha256: hashOf(fields) }
  return Buffer.from(`${JSON.stringify(KeyFileText.parse(text), null, 2)}\n`)
}

/**
 * Takes exactly what `encodeKeyFile` makes. Whether it opens is another matter.
 * @param objectKey where it was found
 * Throws `repository.key_file_invalid`, or `repository.format_unsupported` for a later version.
 */
export function parseKeyFile(bytes: Uint8Array, objectKey: string): KeyFile {
  try {
    const json = parseUtf8Json(bytes)
    expectVersion(json, objectKey)
    const { encapsulatedKey, sealedRing, sha256, ...header } = KeyFileText.parse(json)
    if (hashOf({ ...headerOf(header), encapsulatedKey, sealedRing }) !== sha256) throw new Error('it was changed')
    const file = {
      ...header,
      encapsulatedKey: Buffer.from(encapsulatedKey, 'base64'),
      sealedRing: Buffer.from(sealedRing, 'base64'),
    }
    if (!Buffer.from(encodeKeyFile(file)).equals(bytes)) throw new Error('it is not written as it must be')
    const ownKey = keyFileKey(file, file.recipient.recipientId)
    if (ownKey !== objectKey) throw new Error(`it is ${ownKey}`)
    return file
  } catch (error) {
    if (error instanceof PlatformError && error.code === 'repository.format_unsupported') throw error
    throw keyFileInvalid(objectKey, error)
  }
}

export function keyFileInvalid(objectKey: string, cause: unknown): PlatformError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new PlatformError('repository.key_file_invalid', `${objectKey}: ${why}`.slice(0, 1000), {
    cause,
    details: { objectKey },
  })
}

const AnyVersion = z.looseObject({ format: z.literal('sendense-key-file'), version: z.int().min(2) })

function expectVersion(json: unknown, objectKey: string): void {
  const later = AnyVersion.safeParse(json)
  if (!later.success) return
  throw new PlatformError('repository.format_unsupported', `${objectKey} is of version ${later.data.version}`)
}

/** The fields in one order: what is signed and hashed does not depend on how an object was put together. */
function headerOf(file: Omit<KeyFile, 'encapsulatedKey' | 'sealedRing'>): KeyFileHeader {
  const { repositoryId, ringNumber, ringId, recipient } = file
  return KeyFileHeader.parse({ format: 'sendense-key-file', version: 1, repositoryId, ringNumber, ringId, recipient })
}

function hashOf(fields: object): string {
  return createHash('sha256').update(JSON.stringify(fields)).digest('hex')
}
