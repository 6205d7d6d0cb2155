import type { ErrorCode } from '@sendense/shared/errors/error-codes.ts'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import type { ObjectStore } from '../../../object-store/object-store.ts'
import { runParallel } from '../../../object-store/run-parallel.ts'
import { packSizeBytesOf, parseIndexDelta } from '../format/index-delta.ts'
import type { OpenContext } from '../format/object-context.ts'
import { packKey, type PackPlace, parseIndexDeltaKey, parsePackKey, prefixes } from '../format/object-keys.ts'
import { openPackDirectory, readPackTail } from '../format/pack-reader.ts'
import type { CataloguedPack } from './pack-catalogue.ts'

const READS_AT_ONCE = 32

/** What one object may have been: changed, of a key or version that is not ours, or deleted since it was listed. */
const UNREADABLE: ReadonlySet<ErrorCode> = new Set([
  'repository.pack_corrupt',
  'repository.object_corrupt',
  'repository.key_missing',
  'repository.format_unsupported',
  'storage.not_found',
])

/** A pack as a listing of the store tells of it. */
export interface StoredPack extends PackPlace {
  readonly sizeBytes: number
}

export interface StoredPacksContext {
  readonly store: ObjectStore
  readonly context: OpenContext
}

export interface StoredPacksCall extends CallOptions {
  /** Takes what was read of one pack. */
  readonly note: (pack: CataloguedPack) => Promise<void> | void
  /** Told of each object that is no use. The others are read all the same. */
  readonly onUnreadable: (error: unknown, key: string) => void
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

/** Whether what is known of a pack is of the one that is in the store. */
export function isSamePack(
  known: Pick<StoredPack, 'generation' | 'sizeBytes'>,
  stored: StoredPack | undefined,
): boolean {
  return stored?.generation === known.generation && stored.sizeBytes === known.sizeBytes
}

/**
 * What index objects say of packs that are missing, the latest object first, until nothing is missing any more: `note` takes
 * what it knows out of `missing`. Rejects with `storage.*`: a store that does not answer must not look like one that holds little.
 */
export async function readIndexObjects(
  { store, context }: StoredPacksContext,
  missing: ReadonlyMap<string, StoredPack>,
  { note, onUnreadable, signal }: StoredPacksCall,
): Promise<void> {
  const keys: string[] = []
  for await (const page of store.list(prefixes.indexDeltas, { signal })) keys.push(...page.map(({ key }) => key))
  await runParallel(keys.toReversed(), { concurrency: READS_AT_ONCE, signal }, async (key, call) => {
    const place = parseIndexDeltaKey(key)
    if (place === undefined || missing.size === 0) return
    try {
      for (const pack of parseIndexDelta(await store.get(key, call), place, context).packs) {
        const known = { ...pack, sizeBytes: packSizeBytesOf(pack.directory) }
        if (isSamePack(known, missing.get(pack.packId))) await note(known)
      }
    } catch (error) {
      expectUnreadable(error)
      onUnreadable(error, key)
    }
  })
}

/** What the packs' own directories say of them. Rejects as readIndexObjects. */
export async function readPackDirectories(
  from: StoredPacksContext,
  packs: readonly StoredPack[],
  { note, onUnreadable, signal }: StoredPacksCall,
): Promise<void> {
  await runParallel(packs, { concurrency: READS_AT_ONCE, signal }, async (pack, call) => {
    try {
      await note(await readPackEntry({ ...from, ...call }, pack))
    } catch (error) {
      expectUnreadable(error)
      onUnreadable(error, packKey(pack))
    }
  })
}

/** What footer and directory of the pack itself say. Rejects with `repository.pack_corrupt`, `storage.*`. */
export async function readPackEntry(
  { store, context, signal }: StoredPacksContext & CallOptions,
  pack: StoredPack,
): Promise<CataloguedPack> {
  const key = packKey(pack)
  const name = { ...pack, repositoryId: context.repositoryId }
  const read = async (offsetBytes: number, into: Uint8Array) => await store.read(key, offsetBytes, into, { signal })
  const tail = await readPackTail(read, pack.sizeBytes, name)
  const { packId, generation, sizeBytes } = pack
  return { packId, generation, sizeBytes, epoch: tail.footer.epoch, directory: openPackDirectory(tail, context.keys) }
}

function expectUnreadable(error: unknown): void {
  if (!isPlatformError(error) || !UNREADABLE.has(error.code)) throw error
}
