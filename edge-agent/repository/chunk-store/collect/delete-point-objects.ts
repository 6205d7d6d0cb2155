import type { CallOptions, ObjectStore } from '../../../object-store/object-store.ts'
import { manifestKey, type ManifestPlace, packSetPrefix } from '../format/object-keys.ts'
import { listObjects } from './list-objects.ts'

export interface DeletePointOptions extends CallOptions {
  /** Told of what kept a pack set from being deleted. A collection deletes it. */
  readonly onLeft?: (error: unknown) => void
}

/**
 * Makes a restore point cease to exist: its manifest goes first, then its pack sets. Packs stay until a collection finds
 * that nothing refers to them.
 * Rejects with `storage.immutable`, whose details say until when, while the manifest is protected: nothing was deleted then.
 */
export async function deletePointObjects(
  store: ObjectStore,
  point: ManifestPlace,
  { signal, onLeft }: DeletePointOptions,
): Promise<void> {
  await store.delete(manifestKey(point), { signal })
  try {
    for await (const { key } of listObjects(store, packSetPrefix(point), { signal }))
      await store.delete(key, { signal })
  } catch (error) {
    onLeft?.(error)
  }
}
