import { randomBytes } from 'node:crypto'
import type { NewBackup } from '../../repository.ts'
import type { SealedManifest } from '../../restore-point-manifest.ts'
import type { ChunkContext } from '../chunk-context.ts'
import { PACK_ID_BYTES } from '../format/identity-bytes.ts'
import { generationOf } from '../generation.ts'
import type { ChunkIndex } from '../index/chunk-index.ts'
import type { CataloguedPack } from '../index/pack-catalogue.ts'
import type { WriterLease } from '../lease/writer-lease.ts'
import type { PackLookup } from '../read/pack-lookup.ts'
import { PackReports } from './pack-reports.ts'
import { type PackSettings, PackWriter } from './pack-writer.ts'
import { protectionOf } from './protection.ts'

export interface BackupSessionParts {
  readonly context: ChunkContext
  readonly backup: NewBackup
  readonly parent: SealedManifest | undefined
  readonly lease: WriterLease
  readonly index: ChunkIndex
}

/**
 * What one backup writes, in this thread and in others: packs that became durable count at once, for everybody who
 * deduplicates. They stay when the session fails: the next try finds them, or a collection deletes them.
 */
export class BackupSession implements Disposable {
  readonly backup: NewBackup
  readonly parent: SealedManifest | undefined
  readonly lease: WriterLease
  readonly index: ChunkIndex
  readonly packSettings: PackSettings
  /** Of PackReports, for other threads. Nobody can guess it. */
  readonly channel: string
  /** The packs of the parent. */
  parentLookup: PackLookup | undefined
  /** Packs that the restore point must not need: they go before it does. */
  readonly #leaving = new Set<string>()
  readonly #context: ChunkContext
  readonly #reports: PackReports
  readonly #packs: CataloguedPack[] = []
  readonly #storedBytes = new Map<string, number>()
  readonly #ended = new AbortController()

  constructor({ context, backup, parent, lease, index }: BackupSessionParts) {
    this.#context = context
    this.backup = backup
    this.parent = parent
    this.lease = lease
    this.index = index
    this.channel = `sendense-session-${randomBytes(16).toString('hex')}`
    const { settings, keys, descriptor } = context
    const { repositoryId, chunkSizeBytes } = descriptor
    const generation = generationOf(lease.storeNow())
    const epoch = keys.newestEpoch
    const protection = protectionOf(settings, generation)
    this.packSettings = {
      repositoryId,
      chunkSizeBytes,
      generation,
      epoch,
      epochKey: keys.epochKey(epoch),
      packSizeBytes: settings.packSizeBytes,
      compression: settings.compression,
      ...(protection === undefined ? {} : { protection }),
    }
    this.#reports = new PackReports(this.channel, (diskId, pack) => this.#count(diskId, pack))
    lease.lost.addEventListener('abort', () => this.#end('the right to write was lost'), { once: true })
  }

  /** All that were written so far, in the order in which they became durable. */
  get packs(): readonly CataloguedPack[] {
    return this.#packs
  }

  get leaving(): ReadonlySet<string> {
    return this.#leaving
  }

  /** A pack is not kept any longer for this restore point or later ones: nobody deduplicates against it any more. */
  leave(packId: string): void {
    this.#leaving.add(packId)
    this.index.drop(packId)
  }

  /** What was stored for a disk, with its chunk-id pages. */
  storedBytes(diskId: string): number {
    return this.#storedBytes.get(diskId) ?? 0
  }

  /** Writes packs in this thread. */
  newPackWriter(diskId: string): PackWriter {
    const { store, buffers, storeConfig } = this.#context
    return new PackWriter({
      store,
      settings: this.packSettings,
      buffers,
      isKnown: (id) => this.index.packOf(id) !== undefined,
      onDurable: async (pack) => this.#count(diskId, pack),
      newPackId: () => randomBytes(PACK_ID_BYTES).toString('hex'),
      tellSha256: storeConfig !== undefined && storeConfig.kind !== 'directory',
      ended: this.#ended.signal,
    })
  }

  [Symbol.dispose](): void {
    this.#end('the session was closed')
    this.#reports[Symbol.dispose]()
  }

  #count(diskId: string, pack: CataloguedPack): void {
    this.#packs.push(pack)
    this.#storedBytes.set(diskId, this.storedBytes(diskId) + pack.directory.recordBytes)
    this.index.add(pack)
  }

  #end(why: string): void {
    this.#reports.end(why)
    this.#ended.abort(this.lease.lost.aborted ? this.lease.lost.reason : new Error(why))
  }
}
