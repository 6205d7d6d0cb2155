import type { RepositoryKeys } from './repository-keys.ts'
import { objectCorrupt, type ObjectPlace, openObject, sealObject } from './sealed-object.ts'

/** What sealed objects of one repository are opened with. */
export interface OpenContext {
  readonly repositoryId: string
  readonly keys: RepositoryKeys
}

/** What they are made with. */
export interface SealContext extends OpenContext {
  /** Bytes that cannot be guessed and do not repeat: crypto.randomBytes. */
  readonly randomBytes: (lengthBytes: number) => Uint8Array
}

type KindAndKey = Pick<ObjectPlace, 'kind' | 'objectKey'>

export function sealBytes(place: KindAndKey, content: Uint8Array, context: SealContext): Uint8Array {
  const { repositoryId, keys, randomBytes } = context
  return sealObject({ ...place, repositoryId }, content, keys, { compress: false, randomBytes })
}

export function sealJson(place: KindAndKey, value: unknown, context: SealContext): Uint8Array {
  const { repositoryId, keys, randomBytes } = context
  const content = Buffer.from(JSON.stringify(value))
  return sealObject({ ...place, repositoryId }, content, keys, { compress: true, randomBytes })
}

/** Opens an object and parses its content. What `parse` throws becomes `repository.object_corrupt`. */
export function openAndParse<T>(
  bytes: Uint8Array,
  place: KindAndKey,
  context: OpenContext,
  parse: (content: Buffer) => T,
): T {
  const content = openObject(bytes, { ...place, repositoryId: context.repositoryId }, context.keys)
  try {
    return parse(content)
  } catch (error) {
    throw objectCorrupt(place, error instanceof Error ? error.message : String(error), error)
  }
}

/** JSON in whole, valid UTF-8. Throws what the parsers throw. */
export function parseUtf8Json(content: Uint8Array): unknown {
  return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(content))
}
