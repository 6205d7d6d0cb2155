import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions, ObjectStore } from '../../../object-store/object-store.ts'
import { encodeIndexDelta, type IndexedPack, indexedPackBytes, parseIndexDelta } from '../format/index-delta.ts'
import type { SealContext } from '../format/object-context.ts'
import { indexDeltaKey, parseIndexDeltaKey, prefixes } from '../format/object-keys.ts'
import { listObjects } from './list-objects.ts'

/** Directories in one index object that takes the place of others. */
const INDEX_BYTES_MAX = 64 * 1024 * 1024
/** An index is written anew when so much of it is of packs that are gone. */
const GONE_SHARE = 0.25

export interface ReplaceOptions extends CallOptions {
  readonly store: ObjectStore
  readonly context: SealContext
  readonly newId: () => string
  /** Packs that were deleted. */
  readonly gone: ReadonlySet<string>
  readonly isYoung: (putMs: number) => boolean
}

/**
 * Writes indexes anew without the packs that are gone: first the new one, then the old ones are deleted, so that each pack
 * that is there is in one of them. Indexes are a shortcut: one that cannot be read, or that the store protects, stays.
 * @returns how many were replaced
 */
export async function replaceIndexes(options: ReplaceOptions): Promise<number> {
  const { store, context, gone, isYoung, signal } = options
  const merging = new Map<number, Merged>()
  let replaced = 0
  for await (const { key, modifiedAt } of listObjects(store, prefixes.indexDeltas, { signal })) {
    const place = parseIndexDeltaKey(key)
    if (place === undefined || isYoung(modifiedAt.getTime())) continue
    const packs = await readPacks(store, key, context, { signal })
    const kept = packs?.filter(({ packId }) => !gone.has(packId))
    if (packs === undefined || kept === undefined || packs.length - kept.length < packs.length * GONE_SHARE) continue
    if (kept.length === packs.length || (await isProtected(store, key, { signal }))) continue
    const merged = merging.get(place.generation) ?? { packs: [], bytes: 0, keys: [] }
    merging.set(place.generation, merged)
    merged.packs.push(...kept)
    merged.bytes += kept.reduce((sum, { directory }) => sum + indexedPackBytes(directory), 0)
    merged.keys.push(key)
    if (merged.bytes < INDEX_BYTES_MAX) continue
    replaced += await replace(options, place.generation, merged)
    merging.delete(place.generation)
  }
  for (const [generation, merged] of merging) replaced += await replace(options, generation, merged)
  return replaced
}

interface Merged {
  readonly packs: IndexedPack[]
  bytes: number
  readonly keys: string[]
}

async function replace(
  { store, context, newId, signal }: ReplaceOptions,
  generation: number,
  { packs, keys }: Merged,
): Promise<number> {
  if (packs.length > 0) {
    const index = { indexId: newId(), generation, packs }
    await store.put(indexDeltaKey(index), encodeIndexDelta(index, context), { signal })
  }
  for (const key of keys) await store.delete(key, { signal })
  return keys.length
}

async function readPacks(
  store: ObjectStore,
  key: string,
  context: SealContext,
  { signal }: CallOptions,
): Promise<readonly IndexedPack[] | undefined> {
  const place = parseIndexDeltaKey(key)
  if (place === undefined) return undefined
  try {
    return parseIndexDelta(await store.get(key, { signal }), place, context).packs
  } catch (error) {
    if (isPlatformError(error, 'storage.not_found') || isPlatformError(error, 'repository.object_corrupt')) {
      return undefined
    }
    throw error
  }
}

async function isProtected(store: ObjectStore, key: string, { signal }: CallOptions): Promise<boolean> {
  const { immutability } = store
  if (immutability === undefined) return false
  try {
    const isRetained = (await immutability.findRetention(key, { signal })) !== undefined
    return isRetained || (await immutability.hasLegalHold(key, { signal }))
  } catch (error) {
    if (isPlatformError(error, 'storage.not_found')) return true
    throw error
  }
}
