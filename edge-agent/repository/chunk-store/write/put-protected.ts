import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions, ObjectStore, PutOptions, RetentionMode } from '../../../object-store/object-store.ts'

/** How long the objects of a repository outlive whoever may delete. */
export interface ProtectionPeriod {
  readonly mode: RetentionMode
  /** From when on an object may be deleted. */
  readonly retainUntil: Date
}

/**
 * Puts an object, with its retention where there is a period.
 * Rejects as the store does; with `storage.unsupported` where a period is given and the store protects nothing.
 */
export async function putProtected(
  store: ObjectStore,
  key: string,
  body: Uint8Array,
  { protection, ...options }: PutOptions & CallOptions & { readonly protection: ProtectionPeriod | undefined },
): Promise<void> {
  if (protection === undefined) {
    await store.put(key, body, options)
    return
  }
  const { immutability } = store
  if (immutability === undefined) throw unprotected(store)
  await immutability.put(key, body, { ...options, retention: protection })
}

function unprotected(store: ObjectStore): PlatformError {
  return new PlatformError('storage.unsupported', `${store.description} cannot protect objects from being deleted`)
}
