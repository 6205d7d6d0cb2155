import { isPlatformError, type PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { ObjectStore } from '../../object-store/object-store.ts'
import { runParallel } from '../../object-store/run-parallel.ts'
import { PAGE_IDS } from '../../repository/chunk-id-pages.ts'
import type { ReadContext } from '../../repository/chunk-store/chunk-context.ts'
import type { ChunkStoreDescriptor } from '../../repository/chunk-store/format/chunk-store-descriptor.ts'
import {
  manifestKey,
  type ManifestPlace,
  packKey,
  type PackPlace,
} from '../../repository/chunk-store/format/object-keys.ts'
import { parseManifestOfAnySigner } from '../../repository/chunk-store/format/sealed-manifest.ts'
import { createMemoryPackCatalogue } from '../../repository/chunk-store/index/memory-pack-catalogue.ts'
import { listPacks, type StoredPack } from '../../repository/chunk-store/index/stored-packs.ts'
import type { KeyRing } from '../../repository/chunk-store/keys/key-ring.ts'
import { listManifests, readManifest } from '../../repository/chunk-store/manifest-objects.ts'
import { chunkSource } from '../../repository/chunk-store/read/chunk-source.ts'
import type { PackLookup } from '../../repository/chunk-store/read/pack-lookup.ts'
import { loadChunkIds, mapDisk, readPackSet } from '../../repository/chunk-store/read/restore-point-map.ts'
import type { ManifestDisk, SealedManifest } from '../../repository/restore-point-manifest.ts'
import type {
  Archive,
  ArchivedDisk,
  ArchivedPoint,
  ChunkPlaceName,
  FoundPoint,
  LostRange,
  OpenPointOptions,
} from '../archive.ts'
import { lookUpPacks } from './look-up-packs.ts'

const MANIFESTS_AT_ONCE = 16

export interface ChunkArchiveParts {
  readonly store: ObjectStore
  readonly descriptor: ChunkStoreDescriptor
  readonly keys: KeyRing
  /** SPKI DER, base64, by key id: whose manifests are believed. */
  readonly publicKeys: ReadonlyMap<string, string>
  readonly anySigner: boolean
  readonly warnings: readonly string[]
}

type PointOptions = OpenPointOptions & { readonly onWarning: (text: string) => void }

/** A chunk repository, read only. It owns the store and the keys. */
export class ChunkArchive implements Archive {
  readonly kind = 'chunk-store'
  readonly repositoryId: string
  readonly description: string
  readonly idKey: Uint8Array
  readonly warnings: readonly string[]
  readonly #parts: ChunkArchiveParts
  readonly #context: ReadContext

  constructor(parts: ChunkArchiveParts) {
    const { store, descriptor, keys, warnings } = parts
    const { repositoryId } = descriptor
    this.repositoryId = repositoryId
    this.description = store.description
    this.idKey = keys.idKey
    this.warnings = warnings
    this.#parts = parts
    const catalogue = createMemoryPackCatalogue()
    this.#context = { store, descriptor, repositoryId, keys, catalogue, logger: undefined }
  }

  async listRestorePoints({ signal }: CallOptions): Promise<readonly FoundPoint[]> {
    const places = await listManifests(this.#context, {}, { signal })
    const found = new Map<string, FoundPoint>()
    await runParallel(places, { concurrency: MANIFESTS_AT_ONCE, signal }, async (place, call) => {
      const manifest = await this.#read(place, call)
      if (manifest === undefined) return
      const { vmId, restorePointId } = place
      found.set(manifestKey(place), { vmId, restorePointId, manifest })
    })
    return places.flatMap((place) => found.get(manifestKey(place)) ?? [])
  }

  async openRestorePoint(sealed: SealedManifest, options: PointOptions): Promise<ArchivedPoint> {
    const { signal, onWarning } = options
    const stored = await listPacks(this.#context.store, { signal })
    const wanted = await this.#wantedPacks(sealed, stored, { signal, onWarning })
    const missing = wanted.filter(({ packId }) => !stored.has(packId)).map((place) => packKey(place))
    const present = wanted.flatMap(({ packId }) => stored.get(packId) ?? [])
    const { lookup, unreadable } = await lookUpPacks(this.#context, present, { signal })
    await using opened = new AsyncDisposableStack()
    const disks = new Map<string, ArchivedDisk>()
    for (const disk of sealed.manifest.disks) {
      const archived = await this.#openDisk(disk, lookup, options)
      opened.use(archived.source)
      disks.set(disk.diskId, archived)
    }
    const owned = opened.move()
    const files = { count: wanted.length, missing: [...missing, ...unreadable] }
    return { sealed, disks, files, [Symbol.asyncDispose]: async () => await owned.disposeAsync() }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.store[Symbol.asyncDispose]()
    this.#parts.keys[Symbol.dispose]()
  }

  /** Undefined where it was deleted meanwhile. */
  async #read(place: ManifestPlace, { signal }: CallOptions): Promise<FoundPoint['manifest'] | undefined> {
    const { store, keys, repositoryId } = this.#context
    try {
      if (this.#parts.anySigner) {
        return parseManifestOfAnySigner(await store.get(manifestKey(place), { signal }), place, this.#context)
      }
      const { publicKeys } = this.#parts
      return await readManifest({ store, keys, repositoryId, publicKeys }, place, { signal })
    } catch (error) {
      signal.throwIfAborted()
      if (isPlatformError(error, 'repository.restore_point_not_found')) return undefined
      if (isPlatformError(error, 'storage.not_found')) return undefined
      if (isPlatformError(error) && error.code.startsWith('repository.')) return error
      throw error
    }
  }

  /** The packs of the point; where their list is lost, all that there are: ids tell what is right. */
  async #wantedPacks(
    sealed: SealedManifest,
    stored: ReadonlyMap<string, StoredPack>,
    { signal, onWarning }: CallOptions & Pick<PointOptions, 'onWarning'>,
  ): Promise<readonly PackPlace[]> {
    try {
      return await readPackSet(this.#context, sealed, { signal })
    } catch (error) {
      if (!isPlatformError(error, 'repository.chunk_corrupt')) throw error
      onWarning(`${error.message}; all ${stored.size} packs of the repository are searched instead`)
      return [...stored.values()]
    }
  }

  async #openDisk(disk: ManifestDisk, lookup: PackLookup, options: PointOptions): Promise<ArchivedDisk> {
    const { signal, skipDamaged, onWarning } = options
    const { diskId, sizeBytes, chunkSizeBytes } = disk
    const lostIds: LostRange[] = []
    const onLostPage = (index: number, error: PlatformError): void => {
      const offsetBytes = index * PAGE_IDS * chunkSizeBytes
      const lengthBytes = Math.min(PAGE_IDS * chunkSizeBytes, sizeBytes - offsetBytes)
      lostIds.push({ diskId, offsetBytes, lengthBytes, why: error.message })
      onWarning(error.message)
    }
    const chunkIds = await loadChunkIds(this.#context, lookup, disk, {
      signal,
      ...(skipDamaged ? { onLostPage } : {}),
    })
    const map = await mapDisk(lookup, chunkIds, { signal })
    const { store, repositoryId, keys } = this.#context
    const source = chunkSource({ diskId, repositoryId, store, keys, map, chunkIds })
    const placeOf = (index: number): ChunkPlaceName | undefined => {
      const chunk = map.get(index)
      return chunk === undefined || chunk === 'lost'
        ? undefined
        : { file: map.packAt(chunk.pack).packId, number: chunk.ordinal }
    }
    return { diskId, source, chunkIds, placeOf, lostIds: lostIds.toSorted((a, b) => a.offsetBytes - b.offsetBytes) }
  }
}
