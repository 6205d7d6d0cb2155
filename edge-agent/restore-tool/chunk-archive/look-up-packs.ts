import type { ErrorCode } from '@sendense/shared/errors/error-codes.ts'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { ObjectStore } from '../../object-store/object-store.ts'
import { runParallel } from '../../object-store/run-parallel.ts'
import type { ReadContext } from '../../repository/chunk-store/chunk-context.ts'
import { packSizeBytesOf, parseIndexDelta } from '../../repository/chunk-store/format/index-delta.ts'
import {
  packKey,
  type PackPlace,
  parseIndexDeltaKey,
  parsePackKey,
  prefixes,
} from '../../repository/chunk-store/format/object-keys.ts'
import { readPackEntry } from '../../repository/chunk-store/index/load-index.ts'
import type { CataloguedPack } from '../../repository/chunk-store/index/pack-catalogue.ts'
import { PackLookup } from '../../repository/chunk-store/read/pack-lookup.ts'

const READS_AT_ONCE = 32

/** What one object may have been: changed, of a key or version that is not ours, or deleted since it was listed. */
const UNREADABLE: ReadonlySet<ErrorCode> = new Set([
  'repository.pack_corrupt',
  'repository.object_corrupt',
  'repository.key_missing',
  'repository.format_unsupported',
  'storage.not_found',
])

export interface StoredPack extends PackPlace {
  readonly sizeBytes: number
}

/** All packs that are in the store, by their ids. */
export async function listPacks(store: ObjectStore, { signal }: CallOptions): Promise<Map<string, StoredPack>> {
  const packs = new Map<string, StoredPack>()
  for await (const page of store.list(prefixes.packs, { signal })) {
    for (const { key, sizeBytes } of page) {
      const place = parsePackKey(key)
      if (place !== undefined) packs.set(place.packId, { ...place, sizeBytes })
    }
  }
  return packs
}

/**
 * What is in these packs: index objects say it in few requests; what they do not say, or say of a pack of another length, the
 * packs' own directories say. So it works where all index objects are lost or damaged.
 * @returns besides, keys of packs whose directory cannot be read either
 */
export async function lookUpPacks(
  context: ReadContext,
  packs: readonly StoredPack[],
  { signal }: CallOptions,
): Promise<{ readonly lookup: PackLookup; readonly unreadable: readonly string[] }> {
  const missing = new Map(packs.map((pack) => [pack.packId, pack]))
  const known = new Map<string, CataloguedPack>()
  for (const pack of await context.catalogue.find([...missing.keys()], { signal })) {
    known.set(pack.packId, pack)
    missing.delete(pack.packId)
  }
  const note = (pack: CataloguedPack): void => {
    if (missing.delete(pack.packId)) known.set(pack.packId, pack)
  }
  if (missing.size > 0) await readIndexObjects(context, missing, note, { signal })
  const unreadable: string[] = []
  await runParallel([...missing.values()], { concurrency: READS_AT_ONCE, signal }, async (pack, call) => {
    try {
      note(await readPackEntry({ store: context.store, context, ...call }, pack))
    } catch (error) {
      expectUnreadable(error)
      unreadable.push(packKey(pack))
    }
  })
  await context.catalogue.put([...known.values()], { signal })
  return { lookup: new PackLookup([...known.values()]), unreadable }
}

/** The latest first, until nothing is missing any more. */
async function readIndexObjects(
  { store, repositoryId, keys }: ReadContext,
  missing: ReadonlyMap<string, StoredPack>,
  note: (pack: CataloguedPack) => void,
  { signal }: CallOptions,
): Promise<void> {
  const objectKeys: string[] = []
  for await (const page of store.list(prefixes.indexDeltas, { signal })) objectKeys.push(...page.map(({ key }) => key))
  await runParallel(objectKeys.toReversed(), { concurrency: READS_AT_ONCE, signal }, async (key, call) => {
    const place = parseIndexDeltaKey(key)
    if (place === undefined || missing.size === 0) return
    try {
      for (const pack of parseIndexDelta(await store.get(key, call), place, { repositoryId, keys }).packs) {
        const sizeBytes = packSizeBytesOf(pack.directory)
        const stored = missing.get(pack.packId)
        const isSame = stored?.generation === pack.generation && stored.sizeBytes === sizeBytes
        if (isSame) note({ ...pack, sizeBytes })
      }
    } catch (error) {
      expectUnreadable(error)
    }
  })
}

/** Throws what is not a fault of one object: a store that does not answer must not look like one that holds little. */
function expectUnreadable(error: unknown): void {
  if (!isPlatformError(error) || !UNREADABLE.has(error.code)) throw error
}
