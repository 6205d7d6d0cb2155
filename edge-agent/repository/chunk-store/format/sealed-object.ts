import assert from 'node:assert/strict'
import { createCipheriv, createDecipheriv, createHash, timingSafeEqual } from 'node:crypto'
import { constants, zstdCompressSync } from 'node:zlib'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { decompressInto } from './chunk-compression.ts'
import { CIPHER_NAME, NONCE_BYTES, TAG_BYTES } from './chunk-record.ts'
import { deriveKey, hmacSha256, keyPurposes } from './hkdf.ts'
import { uuidFromBytes, uuidToBytes } from './identity-bytes.ts'
import { compressionIds, FORMAT_VERSION, isCompressionId } from './registered-ids.ts'
import type { RepositoryKeys } from './repository-keys.ts'

/** What a sealed object holds. */
export const objectKinds = {
  indexDelta: 1,
  packSet: 2,
  manifest: 3,
  lease: 4,
  condemnedList: 5,
  quarantineList: 6,
  signer: 7,
} as const
export type ObjectKind = (typeof objectKinds)[keyof typeof objectKinds]

/** Content of one object, before compression. */
export const CONTENT_MAX_BYTES = 256 * 1024 * 1024

const MAGIC = Buffer.from('SDOBJ1\0\0', 'latin1')
const HEADER_BYTES = 80
const SALT_AT = 32
const SALT_BYTES = 32
const RESERVED_AT = 72
const HASH_BYTES = 32
const AROUND_BYTES = HEADER_BYTES + TAG_BYTES + 2 * HASH_BYTES
/** Each salt gives a key that encrypts one object only. */
const NONCE = Buffer.alloc(NONCE_BYTES)

/** Where an object belongs: it opens nowhere else. */
export interface ObjectPlace {
  readonly repositoryId: string
  readonly kind: ObjectKind
  /** Its whole key in the store. */
  readonly objectKey: string
}

export interface SealOptions {
  /** zstd level 1 where that makes it smaller. */
  readonly compress: boolean
  /** Bytes that cannot be guessed and do not repeat: crypto.randomBytes. */
  readonly randomBytes: (lengthBytes: number) => Uint8Array
}

/**
 * Encrypts and authenticates content for one place, with the newest epoch. FORMAT.md, "Sealed object".
 * Throws `input.invalid` when the content is longer than 256 MiB.
 */
export function sealObject(
  place: ObjectPlace,
  content: Uint8Array,
  keys: RepositoryKeys,
  options: SealOptions,
): Uint8Array {
  if (content.length > CONTENT_MAX_BYTES) {
    throw new PlatformError('input.invalid', `${place.objectKey} would have ${content.length} bytes`)
  }
  const compressed = options.compress ? compress(content) : content
  const isSmaller = compressed.length < content.length
  const stored = isSmaller ? compressed : content
  const object = Buffer.alloc(AROUND_BYTES + stored.length)
  object.set(MAGIC, 0)
  object.writeUInt16LE(FORMAT_VERSION, 8)
  object.writeUInt8(place.kind, 10)
  object.writeUInt8(isSmaller ? compressionIds.zstd : compressionIds.raw, 11)
  object.writeUInt32LE(keys.newestEpoch, 12)
  object.set(uuidToBytes(place.repositoryId), 16)
  const salt = options.randomBytes(SALT_BYTES)
  assert.equal(salt.length, SALT_BYTES)
  object.set(salt, SALT_AT)
  object.writeUInt32LE(content.length, 64)
  object.writeUInt32LE(stored.length + TAG_BYTES, 68)

  const key = deriveKey(keys.epochKey(keys.newestEpoch), salt, keyPurposes.object)
  const cipher = createCipheriv(CIPHER_NAME, key, NONCE, { authTagLength: TAG_BYTES })
  key.fill(0)
  cipher.setAAD(boundTo(object, place.objectKey))
  object.set(cipher.update(stored), HEADER_BYTES)
  cipher.final()
  const bodyEnd = HEADER_BYTES + stored.length + TAG_BYTES
  object.set(cipher.getAuthTag(), bodyEnd - TAG_BYTES)
  object.set(macOf(object.subarray(0, bodyEnd), place.objectKey, keys), bodyEnd)
  object.set(sha256(object.subarray(0, bodyEnd + HASH_BYTES)), bodyEnd + HASH_BYTES)
  return object
}

/**
 * The content of an object that was sealed for just this place.
 * @returns memory of its own
 * Throws `repository.object_corrupt`, `repository.key_missing`, `repository.format_unsupported`.
 */
export function openObject(bytes: Uint8Array, place: ObjectPlace, keys: RepositoryKeys): Buffer {
  checkSealedObject(bytes, place)
  const object = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const epoch = object.readUInt32LE(12)
  const key = deriveKey(keys.epochKey(epoch), object.subarray(SALT_AT, SALT_AT + SALT_BYTES), keyPurposes.object)
  const bodyEnd = object.length - 2 * HASH_BYTES
  const mac = macOf(object.subarray(0, bodyEnd), place.objectKey, keys)
  if (!timingSafeEqual(mac, object.subarray(bodyEnd, bodyEnd + HASH_BYTES))) {
    throw objectCorrupt(place, 'it was not made with the keys of this repository for this place')
  }
  try {
    const decipher = createDecipheriv(CIPHER_NAME, key, NONCE, { authTagLength: TAG_BYTES })
    decipher.setAAD(boundTo(object, place.objectKey))
    decipher.setAuthTag(object.subarray(bodyEnd - TAG_BYTES, bodyEnd))
    const stored = decipher.update(object.subarray(HEADER_BYTES, bodyEnd - TAG_BYTES))
    decipher.final()
    if (object.readUInt8(11) === compressionIds.raw) return stored
    const content = Buffer.alloc(object.readUInt32LE(64))
    decompressInto(stored, content)
    return content
  } catch (error) {
    throw objectCorrupt(place, error instanceof Error ? error.message : String(error), error)
  } finally {
    key.fill(0)
  }
}

/**
 * Whether an object is, byte for byte, what its writer made, as far as can be told without keys.
 * Throws `repository.object_corrupt`, `repository.format_unsupported`.
 */
export function checkSealedObject(bytes: Uint8Array, place: ObjectPlace): void {
  const object = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  if (object.length < AROUND_BYTES) throw objectCorrupt(place, `it has only ${object.length} bytes`)
  if (!object.subarray(0, MAGIC.length).equals(MAGIC)) throw objectCorrupt(place, 'it does not begin as it must')
  const hashAt = object.length - HASH_BYTES
  if (!sha256(object.subarray(0, hashAt)).equals(object.subarray(hashAt))) {
    throw objectCorrupt(place, 'its bytes are not those that were written')
  }
  const version = object.readUInt16LE(8)
  if (version > FORMAT_VERSION) {
    throw new PlatformError('repository.format_unsupported', `${place.objectKey} is of format version ${version}`)
  }
  const wrong = whatIsWrong(object, place)
  if (wrong !== undefined) throw objectCorrupt(place, wrong)
}

function whatIsWrong(object: Buffer, place: ObjectPlace): string | undefined {
  const compression = object.readUInt8(11)
  const contentBytes = object.readUInt32LE(64)
  const bodyBytes = object.readUInt32LE(68)
  const repositoryId = uuidFromBytes(object.subarray(16, 32))
  if (repositoryId !== place.repositoryId) return `it is of repository ${repositoryId}`
  if (object.readUInt8(10) !== place.kind) return `it is of kind ${object.readUInt8(10)}, not ${place.kind}`
  const storedBytes = bodyBytes - TAG_BYTES
  const isFitting = compression === compressionIds.raw ? storedBytes === contentBytes : storedBytes < contentBytes
  if (object.length !== HEADER_BYTES + bodyBytes + 2 * HASH_BYTES || !isFitting || contentBytes > CONTENT_MAX_BYTES) {
    return `its lengths do not fit together: ${contentBytes}, ${bodyBytes} and ${object.length} bytes`
  }
  const isReserved = object.subarray(RESERVED_AT, HEADER_BYTES).every((byte) => byte === 0)
  if (!isReserved || object.readUInt16LE(8) === 0 || object.readUInt32LE(12) === 0 || !isCompressionId(compression)) {
    return 'its header holds what no version has'
  }
  return undefined
}

export function objectCorrupt(place: { readonly objectKey: string }, why: string, cause?: unknown): PlatformError {
  return new PlatformError('repository.object_corrupt', `${place.objectKey}: ${why}`, {
    cause,
    details: { objectKey: place.objectKey },
  })
}

/** The header and the object's key: neither can be changed, and the object cannot be moved. */
function boundTo(object: Uint8Array, objectKey: string): Buffer {
  return Buffer.concat([object.subarray(0, HEADER_BYTES), Buffer.from(objectKey)])
}

function macOf(headerAndBody: Uint8Array, objectKey: string, keys: RepositoryKeys): Buffer {
  const key = deriveKey(keys.macKey, headerAndBody.subarray(SALT_AT, SALT_AT + SALT_BYTES), keyPurposes.objectMac)
  const name = Buffer.from(objectKey)
  const nameBytes = Buffer.alloc(4)
  nameBytes.writeUInt32LE(name.length)
  const mac = hmacSha256(key).update(nameBytes).update(name).update(headerAndBody).digest()
  key.fill(0)
  return mac
}

function compress(content: Uint8Array): Uint8Array {
  return zstdCompressSync(content, { params: { [constants.ZSTD_c_compressionLevel]: 1 } })
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}
