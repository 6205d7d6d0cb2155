import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import type { ObjectStore } from '../../../object-store/object-store.ts'
import type { OpenContext } from '../format/object-context.ts'
import { ChunkIndex } from './chunk-index.ts'
import type { CataloguedPack, PackCatalogue } from './pack-catalogue.ts'
import { isSamePack, listPacks, readIndexObjects, readPackDirectories, type StoredPack } from './stored-packs.ts'

const PUT_AT_ONCE = 256

export interface LoadIndexOptions extends CallOptions {
  readonly store: ObjectStore
  readonly catalogue: PackCatalogue
  readonly context: OpenContext
  /** Nothing but the packs themselves is believed. */
  readonly fromPacksAlone?: boolean
  readonly logger?: Pick<Logger, 'warn'> | undefined
}

/**
 * The index of all packs that are in the store: from the catalogue where it knows them, else from index objects, else from
 * the packs themselves; the catalogue is brought up to date. A pack that cannot be read is left out, and told of: it is no
 * target of deduplication, and what else it is good for others say.
 * Rejects with `storage.*`.
 */
export async function loadIndex(options: LoadIndexOptions): Promise<ChunkIndex> {
  const { store, catalogue, fromPacksAlone = false, logger, signal } = options
  const stored = await listPacks(store, { signal })
  const index = new ChunkIndex()
  const missing = new Map(stored)
  const stale: string[] = []
  for await (const page of catalogue.list({ signal })) {
    for (const pack of page) {
      if (fromPacksAlone || !isSamePack(pack, stored.get(pack.packId))) stale.push(pack.packId)
      else take(index, missing, pack)
    }
  }
  await catalogue.delete(stale, { signal })
  const found: CataloguedPack[] = []
  const note = async (pack: CataloguedPack): Promise<void> => {
    take(index, missing, pack)
    found.push(pack)
    if (found.length >= PUT_AT_ONCE) await catalogue.put(found.splice(0), { signal })
  }
  const warn = (text: string) => (error: unknown, key: string) => logger?.warn({ err: error, key }, text)
  if (missing.size > 0 && !fromPacksAlone) {
    const onUnreadable = warn('an index object cannot be used: its packs are read by themselves')
    await readIndexObjects(options, missing, { note, onUnreadable, signal })
  }
  if (missing.size > 0) {
    const onUnreadable = warn('a pack cannot be read: its chunks are stored again')
    await readPackDirectories(options, [...missing.values()], { note, onUnreadable, signal })
  }
  await catalogue.put(found, { signal })
  return index
}

function take(index: ChunkIndex, missing: Map<string, StoredPack>, pack: CataloguedPack): void {
  missing.delete(pack.packId)
  index.add(pack)
}
