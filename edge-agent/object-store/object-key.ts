import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

export const OBJECT_KEY_MAX_CHARACTERS = 512
const SEGMENT_MAX_CHARACTERS = 200
const SEGMENT = new RegExp(`^[A-Za-z0-9_][A-Za-z0-9_.=-]{0,${SEGMENT_MAX_CHARACTERS - 1}}$`)
const PREFIX_CHARACTERS = /^[A-Za-z0-9_.=/-]*$/

/**
 * Whether a text is an object key (object-store.ts). The alphabet is what every store and file system takes as it is
 * and sorts alike; names that begin with a dot are left to drivers.
 */
export function isObjectKey(text: string): boolean {
  if (text.length > OBJECT_KEY_MAX_CHARACTERS || text.endsWith('.')) return false
  return text.split('/').every((segment) => SEGMENT.test(segment) && !segment.endsWith('.'))
}

/** Throws `input.invalid` unless it is an object key. */
export function expectObjectKey(key: string): void {
  if (!isObjectKey(key)) throw new PlatformError('input.invalid', `not an object key: ${JSON.stringify(key)}`)
}

/** Throws `input.invalid` unless keys can begin with it. */
export function expectObjectPrefix(prefix: string): void {
  const isFine = PREFIX_CHARACTERS.test(prefix) && !prefix.startsWith('/') && prefix.length <= OBJECT_KEY_MAX_CHARACTERS
  if (!isFine) throw new PlatformError('input.invalid', `not the start of an object key: ${JSON.stringify(prefix)}`)
}
