import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

export const UUID_BYTES = 16
/** 160 random bits: never used twice, after a crash either. */
export const PACK_ID_BYTES = 20
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const PACK_ID = /^[0-9a-f]{40}$/

export function isUuid(text: string): boolean {
  return UUID.test(text)
}

export function isPackId(text: string): boolean {
  return PACK_ID.test(text)
}

/** 16 bytes in the order of the digits. Throws `input.invalid` unless it is a UUID in lower case. */
export function uuidToBytes(uuid: string): Buffer {
  if (!isUuid(uuid)) throw new PlatformError('input.invalid', `not a UUID in lower case: ${JSON.stringify(uuid)}`)
  return Buffer.from(uuid.replaceAll('-', ''), 'hex')
}

export function uuidFromBytes(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** 20 bytes. Throws `input.invalid` unless it is a pack id: 40 hexadecimal digits in lower case. */
export function packIdToBytes(packId: string): Buffer {
  if (!isPackId(packId)) throw new PlatformError('input.invalid', `not a pack id: ${JSON.stringify(packId)}`)
  return Buffer.from(packId, 'hex')
}

export function packIdFromBytes(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
