import { setImmediate as nextTurn } from 'node:timers/promises'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../../block/block-source.ts'
import { ChunkHash } from '../../../mover/chunk-hash.ts'
import { CHUNK_ID_BYTES, ChunkIds } from '../../../mover/chunk-ids.ts'
import { runParallel } from '../../../object-store/run-parallel.ts'
import { pageCount, pageLengthBytes, placePage } from '../../chunk-id-pages.ts'
import type { ManifestDisk, SealedManifest } from '../../restore-point-manifest.ts'
import type { ReadContext } from '../chunk-context.ts'
import { packKey, type PackPlace, packSetPrefix, parsePackSetKey } from '../format/object-keys.ts'
import { packCipherOf } from '../format/pack-reader.ts'
import { parsePackSet } from '../format/pack-set.ts'
import { chunkKinds } from '../format/registered-ids.ts'
import type { CataloguedPack } from '../index/pack-catalogue.ts'
import { readPackEntry } from '../index/stored-packs.ts'
import { isChunkDamage } from './chunk-damage.ts'
import { DiskMap } from './disk-map.ts'
import { type FoundChunk, PackLookup } from './pack-lookup.ts'

const READS_AT_ONCE = 32
const CHUNKS_A_TURN = 65_536

/** The packs of a restore point, and what they hold. */
export async function openPackLookup(
  context: ReadContext,
  sealed: SealedManifest,
  { signal }: CallOptions,
): Promise<PackLookup> {
  const places = await readPackSet(context, sealed, { signal })
  const known = new Map<string, CataloguedPack>()
  for (const pack of await context.catalogue.find(
    places.map(({ packId }) => packId),
    { signal },
  )) {
    known.set(pack.packId, pack)
  }
  const unknown = places.filter(({ packId, generation }) => known.get(packId)?.generation !== generation)
  await runParallel(unknown, { concurrency: READS_AT_ONCE, signal }, async (place, call) => {
    const pack = await findPack(context, place, call)
    if (pack !== undefined) known.set(place.packId, pack)
  })
  return new PackLookup(places.flatMap(({ packId }) => known.get(packId) ?? []))
}

/** The newest revision of the pack set. Rejects with `repository.chunk_corrupt` where there is none that can be trusted. */
export async function readPackSet(
  context: ReadContext,
  { manifest }: SealedManifest,
  { signal }: CallOptions,
): Promise<readonly PackPlace[]> {
  const { vmId, restorePointId } = manifest
  let newest: string | undefined
  for await (const page of context.store.list(packSetPrefix({ vmId, restorePointId }), { signal })) {
    newest = page.findLast(({ key }) => parsePackSetKey(key) !== undefined)?.key ?? newest
  }
  const place = newest === undefined ? undefined : parsePackSetKey(newest)
  if (newest === undefined || place === undefined) throw setMissing(restorePointId, 'its list of packs is missing')
  try {
    return parsePackSet(await context.store.get(newest, { signal }), place, context).packs
  } catch (error) {
    if (isPlatformError(error, 'repository.object_corrupt')) throw setMissing(restorePointId, error.message, error)
    throw error
  }
}

function setMissing(restorePointId: string, why: string, cause?: unknown): PlatformError {
  const text = `restore point ${restorePointId} cannot be read: ${why}`
  return new PlatformError('repository.chunk_corrupt', text, { cause, details: { restorePointId } })
}

/** Undefined where it is not there or is not what it must be: its chunks are lost, and no others. */
async function findPack(
  context: ReadContext,
  place: PackPlace,
  { signal }: CallOptions,
): Promise<CataloguedPack | undefined> {
  try {
    const facts = await context.store.find(packKey(place), { signal })
    if (facts === undefined) return undefined
    return await readPackEntry({ store: context.store, context, signal }, { ...place, sizeBytes: facts.sizeBytes })
  } catch (error) {
    signal.throwIfAborted()
    const isDamage = isPlatformError(error, 'repository.pack_corrupt') || isPlatformError(error, 'storage.not_found')
    if (!isDamage) throw error
    context.logger?.error({ err: error, packId: place.packId }, 'a pack of a restore point cannot be read')
    return undefined
  }
}

export interface LoadIdsOptions extends CallOptions {
  /**
   * Told of each page that is damaged or missing: its chunks have the id of zeros then, which is not what they are.
   * Absent: loading rejects.
   */
  readonly onLostPage?: (index: number, error: PlatformError) => void
}

/** The ids of one disk, from its pages. Rejects with `repository.chunk_corrupt`. */
export async function loadChunkIds(
  context: ReadContext,
  lookup: PackLookup,
  disk: ManifestDisk,
  { signal, onLostPage = raise }: LoadIdsOptions,
): Promise<ChunkIds> {
  const chunkIds = new ChunkIds(disk.sizeBytes, disk.chunkSizeBytes)
  if (pageCount(chunkIds) !== disk.pages.length) {
    const text = `disk ${disk.diskId} has ${disk.pages.length} pages instead of ${pageCount(chunkIds)}`
    throw new PlatformError('repository.manifest_invalid', text)
  }
  const hash = new ChunkHash(context.keys.idKey)
  await runParallel(disk.pages.entries(), { concurrency: READS_AT_ONCE, signal }, async ([index, name], call) => {
    const id = Buffer.from(name, 'hex')
    if (id.every((byte) => byte === 0)) return
    const lengthBytes = pageLengthBytes(chunkIds, index)
    const found = lookup.find(id, chunkKinds.chunkIdPage)
    const page = found?.plainBytes === lengthBytes ? await readPage(context, lookup, { found, id }, call) : undefined
    if (page === undefined || Buffer.compare(hash.idOf(page), id) !== 0) {
      const text = `disk ${disk.diskId}: page ${index} of its chunk ids is damaged or missing`
      const details = { diskId: disk.diskId, page: index }
      onLostPage(index, new PlatformError('repository.chunk_corrupt', text, { details }))
      return
    }
    placePage(chunkIds, index, page)
  })
  return chunkIds
}

function raise(_index: number, error: PlatformError): never {
  throw error
}

async function readPage(
  context: ReadContext,
  lookup: PackLookup,
  { found, id }: { readonly found: FoundChunk; readonly id: Uint8Array },
  call: CallOptions,
): Promise<Uint8Array | undefined> {
  try {
    return await readFoundChunk(context, lookup, { found, id }, call)
  } catch (error) {
    call.signal.throwIfAborted()
    if (isChunkDamage(error)) return undefined
    throw error
  }
}

/** One chunk, decrypted; that it hashes to its id is the caller's to check. Rejects as `isChunkDamage` says, `storage.*`. */
export async function readFoundChunk(
  { store, descriptor: { repositoryId }, keys }: Pick<ReadContext, 'store' | 'descriptor' | 'keys'>,
  lookup: PackLookup,
  { found, id }: { readonly found: FoundChunk; readonly id: Uint8Array },
  { signal }: CallOptions,
): Promise<Uint8Array> {
  const pack = lookup.packs[found.pack]
  if (pack === undefined) throw new RangeError('a chunk of another lookup')
  const record = new Uint8Array(found.storedBytes)
  await store.read(packKey(pack), found.offsetBytes, record, { signal })
  const plain = new Uint8Array(found.plainBytes)
  packCipherOf({ ...pack, repositoryId }, keys).openChunk({ ...found, id }, record, plain)
  return plain
}

/** Where each chunk of a disk lies. What no pack holds, or as another length, is lost there. */
export async function mapDisk(lookup: PackLookup, chunkIds: ChunkIds, { signal }: CallOptions): Promise<DiskMap> {
  const { sizeBytes, chunkSizeBytes, count } = chunkIds
  const map = DiskMap.create(count, lookup.packs)
  for (let index = 0; index < count; index += 1) {
    if (index % CHUNKS_A_TURN === CHUNKS_A_TURN - 1) await nextTurn(undefined, { signal })
    if (chunkIds.isZero(index)) continue
    const found = lookup.find(
      chunkIds.bytes.subarray(index * CHUNK_ID_BYTES, (index + 1) * CHUNK_ID_BYTES),
      chunkKinds.data,
    )
    const lengthBytes = Math.min(chunkSizeBytes, sizeBytes - index * chunkSizeBytes)
    if (found?.plainBytes === lengthBytes) map.set(index, found)
    else map.setLost(index)
  }
  return map
}
