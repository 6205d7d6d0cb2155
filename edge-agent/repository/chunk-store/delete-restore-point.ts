import type { CallOptions } from '../../block/block-source.ts'
import type { ChunkContext } from './chunk-context.ts'
import { deletePointObjects } from './collect/delete-point-objects.ts'
import type { ManifestPlace } from './format/object-keys.ts'
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
  await deletePointObjects(store, place, {
    signal,
    onLeft: (error) => {
      logger?.warn({ err: error, restorePointId }, 'a list of packs of a deleted restore point stays for now')
    },
  })
}
