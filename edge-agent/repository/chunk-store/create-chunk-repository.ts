import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { ObjectStore } from '../../object-store/object-store.ts'
import { withRepositoryErrors } from '../repository-errors.ts'
import {
  encodeChunkStoreDescriptor,
  type NewChunkStore,
  newChunkStoreDescriptor,
} from './format/chunk-store-descriptor.ts'
import type { Recipient } from './format/key-file.ts'
import { DESCRIPTOR_KEY } from './format/object-keys.ts'
import type { KeyRing } from './keys/key-ring.ts'
import { KeyStore } from './keys/key-store.ts'

export interface CreateChunkRepositoryOptions extends NewChunkStore {
  /** The caller's to close. */
  readonly store: ObjectStore
  /** Who will be able to open it; at least one, and better two. */
  readonly recipients: readonly Recipient[]
}

/**
 * Makes a repository in a store: its keys first, for it exists only once they can be opened. What an earlier attempt left
 * that did not come to its end is taken away.
 * @returns its keys, the caller's to erase
 * Rejects with `repository.locked` where there is one already, `input.invalid`, `repository.io_failed`.
 */
export async function createChunkRepository(
  { store, recipients, ...wanted }: CreateChunkRepositoryOptions,
  { signal }: CallOptions,
): Promise<KeyRing> {
  const descriptor = newChunkStoreDescriptor(wanted)
  return await withRepositoryErrors('making the repository', async () => {
    if ((await store.find(DESCRIPTOR_KEY, { signal })) !== undefined) {
      throw new PlatformError('repository.locked', `there is a repository in ${store.description} already`)
    }
    const keys = new KeyStore({ store, repositoryId: descriptor.repositoryId })
    await keys.discardUnfinished({ signal })
    const ring = await keys.create(recipients, { signal })
    await store.put(DESCRIPTOR_KEY, encodeChunkStoreDescriptor(descriptor), { signal })
    return ring
  })
}
