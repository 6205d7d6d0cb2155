import type { CallOptions } from '../../block/block-source.ts'
import type { ReadContext } from '../../repository/chunk-store/chunk-context.ts'
import type { CataloguedPack } from '../../repository/chunk-store/index/pack-catalogue.ts'
import {
  readIndexObjects,
  readPackDirectories,
  type StoredPack,
} from '../../repository/chunk-store/index/stored-packs.ts'
import { PackLookup } from '../../repository/chunk-store/read/pack-lookup.ts'

/**
 * What is in these packs: index objects say it in few requests; what they do not say, or say of a pack of another length, the
 * packs' own directories say. So it works where all index objects are lost or damaged.
 * @returns besides, keys of packs whose directory cannot be read either
 */
export async function lookUpPacks(
  { store, catalogue, repositoryId, keys }: ReadContext,
  packs: readonly StoredPack[],
  { signal }: CallOptions,
): Promise<{ readonly lookup: PackLookup; readonly unreadable: readonly string[] }> {
  const from = { store, context: { repositoryId, keys } }
  const missing = new Map(packs.map((pack) => [pack.packId, pack]))
  const known = new Map<string, CataloguedPack>()
  for (const pack of await catalogue.find([...missing.keys()], { signal })) {
    known.set(pack.packId, pack)
    missing.delete(pack.packId)
  }
  const note = (pack: CataloguedPack): void => {
    if (missing.delete(pack.packId)) known.set(pack.packId, pack)
  }
  if (missing.size > 0) await readIndexObjects(from, missing, { note, onUnreadable: () => undefined, signal })
  const unreadable: string[] = []
  const onUnreadable = (_error: unknown, key: string): void => void unreadable.push(key)
  await readPackDirectories(from, [...missing.values()], { note, onUnreadable, signal })
  await catalogue.put([...known.values()], { signal })
  return { lookup: new PackLookup([...known.values()]), unreadable }
}
