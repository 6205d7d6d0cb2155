import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { ObjectStore } from '../../object-store/object-store.ts'
import {
  type ChunkStoreDescriptor,
  newChunkStoreDescriptor,
} from '../../repository/chunk-store/format/chunk-store-descriptor.ts'
import { parseKeyFile } from '../../repository/chunk-store/format/key-file.ts'
import { parseKeyFileKey, prefixes } from '../../repository/chunk-store/format/object-keys.ts'
import { readDescriptor } from '../../repository/chunk-store/open-chunk-repository.ts'

/**
 * What the store says of itself; where its descriptor is lost, what its key files say: sizes of chunks are in the manifests.
 * Rejects with `repository.not_a_repository`, `repository.format_unsupported`, `storage.*`.
 * @param warnings gets what was got around
 */
export async function describeStore(
  store: ObjectStore,
  warnings: string[],
  { signal }: CallOptions,
): Promise<ChunkStoreDescriptor> {
  try {
    return await readDescriptor(store, { signal })
  } catch (error) {
    if (!isPlatformError(error, 'repository.not_a_repository')) throw error
    const repositoryId = await findRepositoryId(store, { signal })
    if (repositoryId === undefined) throw error
    warnings.push(`repo.json is missing or damaged: the key files say that this is repository ${repositoryId}`)
    return newChunkStoreDescriptor({ repositoryId, createdAt: new Date(0) })
  }
}

async function findRepositoryId(store: ObjectStore, { signal }: CallOptions): Promise<string | undefined> {
  const found = new Set<string>()
  for await (const page of store.list(prefixes.keyFiles, { signal })) {
    for (const { key } of page.filter((facts) => parseKeyFileKey(facts.key) !== undefined)) {
      const repositoryId = await repositoryIdIn(store, key, { signal })
      if (repositoryId !== undefined) found.add(repositoryId)
    }
  }
  const [first, second] = found
  if (second === undefined) return first
  throw new PlatformError('repository.key_untrusted', `its key files are of repositories ${[...found].join(' and ')}`)
}

async function repositoryIdIn(store: ObjectStore, key: string, { signal }: CallOptions): Promise<string | undefined> {
  try {
    return parseKeyFile(await store.get(key, { signal }), key).repositoryId
  } catch (error) {
    if (isPlatformError(error, 'repository.key_file_invalid') || isPlatformError(error, 'storage.not_found')) {
      return undefined
    }
    throw error
  }
}
