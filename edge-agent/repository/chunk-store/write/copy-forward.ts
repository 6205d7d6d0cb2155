import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import { ChunkHash } from '../../../mover/chunk-hash.ts'
import type { ChunkContext } from '../chunk-context.ts'
import { PackLookup } from '../read/pack-lookup.ts'
import { readFoundChunk } from '../read/restore-point-map.ts'
import type { BackupSession } from './backup-session.ts'
import type { CondemnedChunk } from './resolve-packs.ts'

/** Chunks in memory at a time. */
const CHUNKS_AT_ONCE = 16

/**
 * Stores chunks again that lie in packs which will not stay, so that the restore point does not need those.
 * Rejects with `repository.chunk_corrupt` where one of them is gone or damaged.
 */
export async function copyForward(
  context: ChunkContext,
  session: BackupSession,
  chunks: readonly CondemnedChunk[],
  { signal }: CallOptions,
): Promise<void> {
  const packIds = [...new Set(chunks.map(({ pack }) => pack.packId))]
  const atHand = [...session.packs, ...(session.parentLookup?.packs ?? [])]
  const own = atHand.filter(({ packId }) => packIds.includes(packId))
  const lookup = new PackLookup([...(await context.catalogue.find(packIds, { signal })), ...own])
  const hash = new ChunkHash(context.keys.idKey)
  await using writer = session.newPackWriter('')
  for (let at = 0; at < chunks.length; at += CHUNKS_AT_ONCE) {
    const copies = chunks.slice(at, at + CHUNKS_AT_ONCE).map(async ({ id, kind, pack }) => {
      const found = lookup.find(id, kind)
      if (found === undefined) throw gone(id, pack.packId)
      const plain = await readFoundChunk(context, lookup, { found, id }, { signal })
      if (Buffer.compare(hash.idOf(plain), id) !== 0) throw gone(id, pack.packId)
      await writer.put(id, kind, [plain], { signal })
    })
    await Promise.all(copies)
  }
  await writer.flush({ signal })
}

function gone(id: Uint8Array, packId: string): PlatformError {
  const text = `a chunk of pack ${packId}, which is being deleted, could not be copied: the backup has to be run again`
  return new PlatformError('repository.chunk_corrupt', text, {
    details: { packId, chunkId: Buffer.from(id).toString('hex') },
  })
}
