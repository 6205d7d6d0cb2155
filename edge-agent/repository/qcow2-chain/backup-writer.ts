import assert from 'node:assert/strict'
import { rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockSink } from '../../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../../block/block-source.ts'
import type { ChunkIds } from '../../mover/chunk-ids.ts'
import { checkQcow2Image } from '../../qemu/qemu-img.ts'
import type { StorageDaemon } from '../../qemu/storage-daemon.ts'
import { newManifest, type StoredDisk } from '../new-manifest.ts'
import { withRepositoryErrors } from '../repository-errors.ts'
import type { BackupWriter, BackupWriterDisk, NewBackup, SealFacts } from '../repository.ts'
import type { RestorePointManifest, SealedManifest } from '../restore-point-manifest.ts'
import type { ChainContext } from './chain-context.ts'
import { makeDirectoryDurably, syncDirectory, syncFile } from './durable-file.ts'
import { storeChunkIds } from './page-store.ts'
import { manifestPath } from './repository-layout.ts'
import type { VmLock } from './vm-lock.ts'

/** One disk being written. */
export interface ChainWriterDisk extends BackupWriterDisk {
  readonly sink: BlockSink
  readonly base?: BlockSource
  readonly chunkIds: ChunkIds
  /** The new layer where it is now, absolute. */
  readonly partialPath: string
  /** The layers of the new content, newest first, relative to the repository. The first does not exist yet. */
  readonly layers: readonly [string, ...string[]]
  /** Pages that were checked when the parent's ids were loaded. */
  readonly knownPages: ReadonlySet<string>
}

export interface ChainWriterParts {
  readonly context: ChainContext
  readonly backup: NewBackup
  readonly parent: SealedManifest | undefined
  readonly lock: VmLock
  /** Serves all disks. */
  readonly daemon: StorageDaemon
  /** Holds all of this restore point until it is sealed. */
  readonly partialDir: string
  readonly disks: ReadonlyMap<string, ChainWriterDisk>
}

/** A restore point of a QCOW2 chain in the making. It owns everything in its parts. */
export class ChainBackupWriter implements BackupWriter {
  readonly disks: ReadonlyMap<string, BackupWriterDisk>
  readonly #parts: ChainWriterParts
  readonly #movedLayers: string[] = []
  #state: 'open' | 'sealing' | 'sealed' | 'uncertain' | 'disposed' = 'open'

  constructor(parts: ChainWriterParts) {
    this.#parts = parts
    this.disks = parts.disks
  }

  async seal(facts: SealFacts, { signal }: CallOptions): Promise<SealedManifest> {
    assert.equal(this.#state, 'open', 'a restore point is sealed once')
    this.#state = 'sealing'
    const { restorePointId } = this.#parts.backup
    return await withRepositoryErrors(`sealing restore point ${restorePointId}`, async () => {
      await this.#closeLayers(signal)
      await this.#moveLayers(signal)
      const manifest = await this.#storePages(facts, signal)
      signal.throwIfAborted()
      const sealed = await this.#sealManifest(manifest)
      this.#state = 'sealed'
      await this.#removePartial()
      return sealed
    })
  }

  /** All data reaches the layers, and the layers the storage. */
  async #closeLayers(signal: AbortSignal): Promise<void> {
    const { context, daemon, disks } = this.#parts
    for (const disk of disks.values()) await disk.sink.flush({ signal })
    context.crashPoint('sinks-flushed')
    await this.#closeDisks()
    await daemon.stop({ signal })
    context.crashPoint('daemon-stopped')
    for (const disk of disks.values()) {
      const report = await checkQcow2Image(disk.partialPath, { signal, secret: context.layerSecret })
      if (report.corruptions > 0) {
        throw new PlatformError('repository.io_failed', `the new layer of disk ${disk.diskId} is damaged`, {
          details: { diskId: disk.diskId, output: report.output.slice(0, 500) },
        })
      }
      await syncFile(disk.partialPath)
    }
    context.crashPoint('layers-synced')
  }

  async #moveLayers(signal: AbortSignal): Promise<void> {
    const { context, disks } = this.#parts
    signal.throwIfAborted()
    for (const disk of disks.values()) {
      const path = join(context.dir, disk.layers[0])
      await makeDirectoryDurably(context.dir, dirname(path))
      this.#movedLayers.push(path)
      await rename(disk.partialPath, path)
      context.crashPoint('layer-renamed')
      await syncDirectory(dirname(path))
    }
    context.crashPoint('layers-durable')
  }

  async #storePages(facts: SealFacts, signal: AbortSignal): Promise<RestorePointManifest> {
    const { context, backup, disks, parent, partialDir } = this.#parts
    const stored = new Map<string, StoredDisk>()
    for (const disk of disks.values()) {
      const options = { known: disk.knownPages, temporaryDir: partialDir, signal }
      const pages = await storeChunkIds(context.dir, disk.chunkIds, options)
      const file = await stat(join(context.dir, disk.layers[0]))
      // st_blocks counts units of 512 bytes (stat(2)), whatever the file system's block size.
      stored.set(disk.diskId, { pages, layers: [...disk.layers], storedBytes: file.blocks * 512 })
    }
    context.crashPoint('pages-durable')
    const { repositoryId, chunkSizeBytes } = context.descriptor
    const sealedAt = context.clock.now()
    return newManifest({ repositoryId, chunkSizeBytes, backup, parent, facts, stored, sealedAt })
  }

  async #sealManifest(manifest: RestorePointManifest): Promise<SealedManifest> {
    const { context, partialDir } = this.#parts
    try {
      const onWritten = (): void => context.crashPoint('manifest-written')
      const sealed = await context.manifests.seal(manifest, join(partialDir, 'manifest.json'), onWritten)
      context.crashPoint('manifest-durable')
      return sealed
    } catch (error) {
      await this.#withdrawManifest(manifest)
      throw error
    }
  }

  /** Sealing failed: no restore point may exist, and no layer may go before that is certain. */
  async #withdrawManifest(manifest: RestorePointManifest): Promise<void> {
    const { context } = this.#parts
    const path = join(context.dir, manifestPath(manifest.vmId, manifest.takenAt, manifest.restorePointId))
    this.#state = 'uncertain'
    try {
      await rm(path, { force: true })
      await syncDirectory(dirname(path))
      this.#state = 'sealing'
    } catch (error) {
      context.logger?.error({ error, file: basename(path) }, 'a manifest could not be withdrawn: its layers are kept')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'disposed') return
    const state = this.#state
    this.#state = 'disposed'
    const { daemon, lock } = this.#parts
    await this.#closeDisks()
    await daemon[Symbol.asyncDispose]()
    if (state === 'open' || state === 'sealing') {
      for (const path of this.#movedLayers) await this.#orLater(async () => await rm(path, { force: true }))
    }
    await this.#removePartial()
    await this.#orLater(async () => await lock[Symbol.asyncDispose]())
  }

  async #closeDisks(): Promise<void> {
    for (const disk of this.#parts.disks.values()) {
      await disk.sink[Symbol.asyncDispose]()
      await disk.base?.[Symbol.asyncDispose]()
    }
  }

  async #removePartial(): Promise<void> {
    await this.#orLater(async () => await rm(this.#parts.partialDir, { recursive: true, force: true }))
  }

  /** What cannot be removed now is removed when the repository is opened the next time. */
  async #orLater(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.#parts.context.logger?.warn(
        { error },
        'leftovers of a restore point stay until the repository is opened again',
      )
    }
  }
}
