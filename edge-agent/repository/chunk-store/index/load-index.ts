import type { ErrorCode } from '@sendense/shared/errors/error-codes.ts'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import type { ObjectStore } from '../../../object-store/object-store.ts'
import { runParallel } from '../../../object-store/run-parallel.ts'
import { packSizeBytesOf, parseIndexDelta } from '../format/index-delta.ts'
import type { OpenContext } from '../format/object-context.ts'
import { packKey, type PackPlace, parseIndexDeltaKey, parsePackKey, prefixes } from '../format/object-keys.ts'
import { openPackDirectory, readPackTail } from '../format/pack-reader.ts'
import { ChunkIndex } from './chunk-index.ts'
import type { CataloguedPack, PackCatalogue } from './pack-catalogue.ts'

const READS_AT_ONCE = 32
const PUT_AT_ONCE = 256

/** What one object may have been: changed, of a key or version that is not ours, or deleted since it was listed. */
const UNREADABLE: ReadonlySet<ErrorCode> = new Set([
  'repository.pack_corrupt',
  'repository.object_corrupt',
  'repository.key_missing',
  'repository.format_unsupported',
  'storage.not_found',
])

export interface LoadIndexOptions extends CallOptions {
  readonly store: ObjectStore
  readonly catalogue: PackCatalogue
  readonly context: OpenContext
  /** Nothing but the packs themselves is believed. */
  readonly fromPacksAlone?: boolean
  readonly logger?: Pick<Logger, 'warn'> | undefined
}

interface StoredPack extends PackPlace {
  readonly sizeBytes: number
}

/**
 * The index of all packs that are in the store: from the catalogue where it knows them, else from index objects, else from
 * the packs themselves; the catalogue is brought up to date. A pack that cannot be read is left out, and told of: it is no
 * target of deduplication, and what else it is good for others say.
 * Rejects with `storage.*`.
 */
export async function loadIndex(options: LoadIndexOptions): Promise<ChunkIndex> {
  const { catalogue, fromPacksAlone = false, signal } = options
  const stored = await listPacks(options)
  const index = new ChunkIndex()
  const missing = new Map(stored)
  const stale: string[] = []
  for await (const page of catalogue.list({ signal })) {
    for (const pack of page) {
      if (fromPacksAlone || !isSame(pack, stored.get(pack.packId))) stale.push(pack.packId)
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
  if (missing.size > 0 && !fromPacksAlone) await readIndexObjects(options, missing, note)
  if (missing.size > 0) await readPacks(options, [...missing.values()], note)
  await catalogue.put(found, { signal })
  return index
}

/** What footer and directory of the pack itself say. Rejects with `repository.pack_corrupt`, `storage.*`. */
export async function readPackEntry(
  { store, context, signal }: Pick<LoadIndexOptions, 'store' | 'context' | 'signal'>,
  pack: PackPlace & { readonly sizeBytes: number },
): Promise<CataloguedPack> {
  const key = packKey(pack)
  const name = { ...pack, repositoryId: context.repositoryId }
  const read = async (offsetBytes: number, into: Uint8Array) => await store.read(key, offsetBytes, into, { signal })
  const tail = await readPackTail(read, pack.sizeBytes, name)
  const { packId, generation, sizeBytes } = pack
  return { packId, generation, sizeBytes, epoch: tail.footer.epoch, directory: openPackDirectory(tail, context.keys) }
}

async function listPacks({ store, signal }: LoadIndexOptions): Promise<Map<string, StoredPack>> {
  const packs = new Map<string, StoredPack>()
  for await (const page of store.list(prefixes.packs, { signal })) {
    for (const { key, sizeBytes } of page) {
      const place = parsePackKey(key)
      if (place !== undefined) packs.set(place.packId, { ...place, sizeBytes })
    }
  }
  return packs
}

function isSame(known: CataloguedPack, stored: StoredPack | undefined): boolean {
  return stored?.generation === known.generation && stored.sizeBytes === known.sizeBytes
}

function take(index: ChunkIndex, missing: Map<string, StoredPack>, pack: CataloguedPack): void {
  missing.delete(pack.packId)
  index.add(pack)
}

/** Reads index objects, the latest first, until nothing is missing any more. */
async function readIndexObjects(
  { store, context, logger, signal }: LoadIndexOptions,
  missing: ReadonlyMap<string, StoredPack>,
  note: (pack: CataloguedPack) => Promise<void>,
): Promise<void> {
  const keys: string[] = []
  for await (const page of store.list(prefixes.indexDeltas, { signal })) keys.push(...page.map(({ key }) => key))
  await runParallel(keys.toReversed(), { concurrency: READS_AT_ONCE, signal }, async (key, call) => {
    const place = parseIndexDeltaKey(key)
    if (place === undefined || missing.size === 0) return
    try {
      for (const pack of parseIndexDelta(await store.get(key, call), place, context).packs) {
        const stored = missing.get(pack.packId)
        const known = { ...pack, sizeBytes: packSizeBytesOf(pack.directory) }
        if (isSame(known, stored)) await note(known)
      }
    } catch (error) {
      expectUnreadable(error)
      logger?.warn({ err: error, key }, 'an index object cannot be used: its packs are read by themselves')
    }
  })
}

async function readPacks(
  options: LoadIndexOptions,
  packs: readonly StoredPack[],
  note: (pack: CataloguedPack) => Promise<void>,
): Promise<void> {
  const { logger, signal } = options
  await runParallel(packs, { concurrency: READS_AT_ONCE, signal }, async (pack, call) => {
    try {
      await note(await readPackEntry({ ...options, ...call }, pack))
    } catch (error) {
      expectUnreadable(error)
      logger?.warn({ err: error, packId: pack.packId }, 'a pack cannot be read: its chunks are stored again')
    }
  })
}

/** Throws what is not a fault of one object: a store that does not answer must not look like one that holds little. */
function expectUnreadable(error: unknown): void {
  if (!isPlatformError(error) || !UNREADABLE.has(error.code)) throw error
}
