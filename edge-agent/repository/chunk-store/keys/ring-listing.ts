import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions, ObjectStore } from '../../../object-store/object-store.ts'
import { type KeyFile, parseKeyFile } from '../format/key-file.ts'
import { keyFileKey, parseKeyFileKey, prefixes, type RingName } from '../format/object-keys.ts'
import type { KeyRing } from './key-ring.ts'
import { RECIPIENTS_MAX } from './key-ring.ts'

/** More key files than rings of many years have: who put them there does not get all of them read. */
const FILES_MAX = 2000
/** No key file is nearly as long. */
const FILE_MAX_BYTES = 2 * 1024 * 1024

/** Key files of one ring that are in the store. */
export interface ListedRing extends RingName {
  readonly objectKeys: readonly string[]
}

/**
 * The rings that have key files, newest first; other objects are left out.
 * Rejects with `repository.key_untrusted` where there are more files than can be.
 */
export async function listRings(store: ObjectStore, options: CallOptions): Promise<ListedRing[]> {
  const rings = new Map<string, RingName & { objectKeys: string[] }>()
  let count = 0
  for await (const page of store.list(prefixes.keyFiles, options)) {
    for (const { key, sizeBytes } of page) {
      const name = parseKeyFileKey(key)
      if (name === undefined || sizeBytes > FILE_MAX_BYTES) continue
      count += 1
      if (count > FILES_MAX) throw new PlatformError('repository.key_untrusted', `over ${FILES_MAX} key files`)
      const ring = rings.get(ringText(name)) ?? { ringNumber: name.ringNumber, ringId: name.ringId, objectKeys: [] }
      ring.objectKeys.push(key)
      rings.set(ringText(name), ring)
    }
  }
  return [...rings.values()].toSorted((left, right) => (ringText(left) < ringText(right) ? 1 : -1))
}

/** Sorts as ring numbers do. */
export function ringText(ring: RingName): string {
  return `${String(ring.ringNumber).padStart(8, '0')}-${ring.ringId}`
}

/** Files of a ring that are what they say, and the keys of those that are not. */
export interface ReadRing {
  readonly files: readonly KeyFile[]
  readonly damagedKeys: readonly string[]
}

/** Reads all files of a ring. One that vanishes meanwhile is left out. */
export async function readRing(
  store: ObjectStore,
  ring: ListedRing,
  repositoryId: string,
  { signal }: CallOptions,
): Promise<ReadRing> {
  const files: KeyFile[] = []
  const damagedKeys: string[] = []
  for (const objectKey of ring.objectKeys.slice(0, RECIPIENTS_MAX)) {
    try {
      const file = parseKeyFile(await store.get(objectKey, { signal }), objectKey)
      if (file.repositoryId === repositoryId) files.push(file)
      else damagedKeys.push(objectKey)
    } catch (error) {
      if (!(error instanceof PlatformError)) throw error
      if (error.code === 'storage.not_found') continue
      if (error.code !== 'repository.key_file_invalid') throw error
      damagedKeys.push(objectKey)
    }
  }
  return { files, damagedKeys }
}

/** Keys of files that a ring should have and that are not there, or are not what they should be. */
export function missingKeys(ring: KeyRing, read: ReadRing): string[] {
  const found = new Map(read.files.map((file) => [file.recipient.recipientId, JSON.stringify(file.recipient)]))
  return ring.recipients
    .filter((recipient) => found.get(recipient.recipientId) !== JSON.stringify(recipient))
    .map(({ recipientId }) => keyFileKey(ring, recipientId))
}
