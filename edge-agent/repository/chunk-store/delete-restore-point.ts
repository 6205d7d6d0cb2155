import type { CallOptions } from '../../block/block-source.ts'
import type { ChunkContext } from './chunk-context.ts'
import { manifestKey, type ManifestPlace, packSetPrefix } from './format/object-keys.ts'
import { generationOf } from './generation.ts'
import { WriterLease } from './lease/writer-lease.ts'

/**
 * Makes a restore point cease to exist: its manifest first, then its lists of packs. What only it needed a collection
 * finds later. Rejects with `repository.locked` while its VM is being written, `storage.immutable` while it is protected.
 */
export async function deleteManifest(
  context: ChunkContext,
  place: ManifestPlace,
  { signal }: CallOptions,
): Promise<void> {
  const { store, agentId, clock, nowMs, newId, logger } = context
  const { vmId, restorePointId } = place
  const asked = { store, context, agentId, vmId, restorePointId, generationOf, clock, nowMs, newId, logger }
  await using _lease = await WriterLease.take({ ...asked, signal })
  await store.delete(manifestKey(place), { signal })
  try {
    for await (const page of store.list(packSetPrefix(place), { signal })) {
      for (const { key } of page) await store.delete(key, { signal })
    }
  } catch (error) {
    // The point is gone: a collection takes no notice of lists without a manifest, and deletes them.
    logger?.warn({ err: error, restorePointId }, 'a list of packs of a deleted restore point stays for now')
  }
}
