import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { restorePointNotFound, withRepositoryErrors } from '../repository-errors.ts'
import type {
  BackupWriter,
  DeleteOptions,
  NewBackup,
  Repository,
  RepositoryCapacity,
  RestorePointReader,
} from '../repository.ts'
import type { SealedManifest } from '../restore-point-manifest.ts'
import type { ChunkContext } from './chunk-context.ts'
import { type CollectOptions, collectRepository } from './collect/collect-repository.ts'
import type { CollectionReport } from './collect/collection-report.ts'
import { deleteManifest } from './delete-restore-point.ts'
import { DESCRIPTOR_KEY, type ManifestPlace } from './format/object-keys.ts'
import { type Machine, thisMachine } from './lease/this-machine.ts'
import { listManifests, readManifest } from './manifest-objects.ts'
import { restorePointDisk } from './read/restore-point-disk.ts'
import { loadChunkIds, mapDisk, openPackLookup } from './read/restore-point-map.ts'
import { openChunkBackup } from './write/open-chunk-backup.ts'

const MANIFESTS_AT_ONCE = 16
/** Of a store without an end. */
const ENDLESS: RepositoryCapacity = { capacityBytes: Number.MAX_SAFE_INTEGER, freeBytes: Number.MAX_SAFE_INTEGER }

/** Restore points as deduplicated, compressed and encrypted chunks in packs on an object store. It owns the store. */
export class ChunkRepository implements Repository {
  readonly kind = 'chunk-store'
  readonly repositoryId: string
  readonly chunkSizeBytes: number
  readonly idKey: Uint8Array
  readonly #context: ChunkContext & Disposable
  /** Where restore points were found before. */
  readonly #places = new Map<string, ManifestPlace>()

  constructor(context: ChunkContext & Disposable) {
    this.#context = context
    this.repositoryId = context.descriptor.repositoryId
    this.chunkSizeBytes = context.descriptor.chunkSizeBytes
    this.idKey = context.keys.idKey
  }

  async getCapacity({ signal }: CallOptions): Promise<RepositoryCapacity> {
    const { store, measureSpace } = this.#context
    return await withRepositoryErrors('asking for the repository', async () => {
      if ((await store.find(DESCRIPTOR_KEY, { signal })) === undefined) {
        throw new PlatformError('repository.not_a_repository', `there is no repository in ${store.description}`)
      }
      return (await measureSpace?.({ signal })) ?? ENDLESS
    })
  }

  async *listRestorePoints(
    filter: { readonly vmId?: string },
    { signal }: CallOptions,
  ): AsyncGenerator<SealedManifest> {
    const what = 'listing restore points'
    const places = await withRepositoryErrors(what, async () => await listManifests(this.#context, filter, { signal }))
    let invalid: { readonly error: unknown } | undefined
    for (let at = 0; at < places.length; at += MANIFESTS_AT_ONCE) {
      const some = places.slice(at, at + MANIFESTS_AT_ONCE)
      const reads = some.map(async (place) => {
        return await withRepositoryErrors(what, async () => await readManifest(this.#context, place, { signal }))
      })
      for (const read of await Promise.allSettled(reads)) {
        if (read.status === 'fulfilled') yield read.value
        else if (isOnePoint(read.reason)) invalid ??= { error: read.reason }
        else if (!isGone(read.reason)) throw read.reason
      }
    }
    if (invalid !== undefined) throw invalid.error
  }

  async getRestorePoint(restorePointId: string, { signal }: CallOptions): Promise<SealedManifest> {
    return await withRepositoryErrors(`reading restore point ${restorePointId}`, async () => {
      const known = this.#places.get(restorePointId)
      if (known !== undefined) return await readManifest(this.#context, known, { signal })
      const places = await listManifests(this.#context, {}, { signal })
      const place = places.find((candidate) => candidate.restorePointId === restorePointId)
      if (place === undefined) throw restorePointNotFound(restorePointId)
      const sealed = await readManifest(this.#context, place, { signal })
      this.#places.set(restorePointId, place)
      return sealed
    })
  }

  /** Every restore point stands by itself: there are no chains. */
  async isChainFull(restorePointId: string, options: CallOptions): Promise<boolean> {
    await this.getRestorePoint(restorePointId, options)
    return false
  }

  async openBackup(backup: NewBackup, options: CallOptions): Promise<BackupWriter> {
    const capacity = await this.getCapacity(options)
    const what = `opening a backup of VM ${backup.vmId}`
    return await withRepositoryErrors(what, async () => await openChunkBackup(this.#context, backup, capacity, options))
  }

  async openRestorePoint(restorePointId: string, { signal }: CallOptions): Promise<RestorePointReader> {
    const sealed = await this.getRestorePoint(restorePointId, { signal })
    const context = this.#context
    return await withRepositoryErrors(`opening restore point ${restorePointId}`, async () => {
      const lookup = await openPackLookup(context, sealed, { signal })
      await using opened = new AsyncDisposableStack()
      const disks = new Map<string, Disk>()
      for (const disk of sealed.manifest.disks) {
        const { diskId } = disk
        const chunkIds = await loadChunkIds(context, lookup, disk, { signal })
        const map = await mapDisk(lookup, chunkIds, { signal })
        disks.set(diskId, { source: opened.use(restorePointDisk(context, { diskId, map, chunkIds })), chunkIds })
      }
      const owned = opened.move()
      return { sealed, disks, [Symbol.asyncDispose]: async () => await owned.disposeAsync() }
    })
  }

  async deleteRestorePoint(restorePointId: string, { signal }: DeleteOptions): Promise<void> {
    const { manifest } = await this.getRestorePoint(restorePointId, { signal })
    await withRepositoryErrors(`deleting restore point ${restorePointId}`, async () => {
      await deleteManifest(this.#context, manifest, { signal })
    })
    this.#places.delete(restorePointId)
  }

  /**
   * Deletes what no restore point needs any more, in two runs at least a day apart: the first condemns, a later one deletes.
   * Where it had to stop before its end the report says why. Rejects with the signal's reason only.
   */
  async collect({ signal, machine, ...options }: CollectChunksOptions): Promise<CollectionReport> {
    const { store, agentId, newId, clock } = this.#context
    const on = { context: this.#context, machine: machine ?? (await thisMachine(clock)) }
    return await collectRepository({ store, agentId, newId, ...on, ...options, signal })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#context[Symbol.dispose]()
    await this.#context.store[Symbol.asyncDispose]()
  }
}

export interface CollectChunksOptions
  extends CallOptions, Pick<CollectOptions, 'isDryRun' | 'deletesMax' | 'onProgress'> {
  /** Default: this one. */
  readonly machine?: Machine
}

type Disk = RestorePointReader['disks'] extends ReadonlyMap<string, infer T> ? T : never

function isOnePoint(error: unknown): boolean {
  return (
    error instanceof PlatformError &&
    (error.code === 'repository.manifest_invalid' || error.code === 'repository.key_missing')
  )
}

/** Deleted after it was listed. */
function isGone(error: unknown): boolean {
  return error instanceof PlatformError && error.code === 'repository.restore_point_not_found'
}
