import assert from 'node:assert/strict'
import { createHash, randomUUID } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import type { BlockSink } from '../../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../../block/block-source.ts'
import { createMemoryDisk, type MemoryDisk } from '../../block/memory-disk.ts'
import { ChunkIds } from '../../mover/chunk-ids.ts'
import { pagesOf } from '../chunk-id-pages.ts'
import { baseDiskOf, baseMismatch, checkNewBackup } from '../new-backup-check.ts'
import { newManifest, type StoredDisk } from '../new-manifest.ts'
import { restorePointNotFound } from '../repository-errors.ts'
import type {
  BackupWriter,
  BackupWriterDisk,
  ChainCare,
  NewBackup,
  NewBackupDisk,
  Repository,
  RepositoryCapacity,
  RestorePointReader,
  SealFacts,
} from '../repository.ts'
import type { SealedManifest } from '../restore-point-manifest.ts'

const CHUNK_SIZE_DEFAULT_BYTES = 256 * 1024
const CAPACITY_DEFAULT_BYTES = 1024 * 1024 * 1024
const CHAIN_POINTS_MAX = 32

interface StoredContent {
  readonly bytes: Uint8Array
  readonly chunkIds: Uint8Array
}

interface StoredPoint {
  readonly sealed: SealedManifest
  readonly disks: ReadonlyMap<string, StoredContent>
  /** Restore points this one is built on, itself included. */
  readonly chainLength: number
}

/** What survives when a memory repository is opened again, as a process's death would leave it. */
export interface MemoryRepositoryStore {
  readonly repositoryId: string
  readonly chunkSizeBytes: number
  readonly idKey: Uint8Array
  readonly points: Map<string, StoredPoint>
}

export function createMemoryRepositoryStore(
  options: { repositoryId?: string; chunkSizeBytes?: number; idKey?: Uint8Array } = {},
): MemoryRepositoryStore {
  return {
    repositoryId: options.repositoryId ?? randomUUID(),
    chunkSizeBytes: options.chunkSizeBytes ?? CHUNK_SIZE_DEFAULT_BYTES,
    idKey: options.idKey ?? new Uint8Array(32).fill(7),
    points: new Map(),
  }
}

export interface MemoryRepositoryOptions {
  readonly clock?: Clock
  /** Bytes all points together may hold. */
  readonly capacityBytes?: number
  /** Points of a chain at most; 32 where not given. */
  readonly chainPointsMax?: number
}

/**
 * A repository in memory, for tests of what stands above: the same contract, each point held whole, nothing on disk.
 * Locks belong to the returned object: opening the store again is what a restart is to a repository on disk.
 */
export function openMemoryRepository(
  store: MemoryRepositoryStore = createMemoryRepositoryStore(),
  options: MemoryRepositoryOptions = {},
): Repository {
  return new MemoryRepository(store, options)
}

class MemoryRepository implements Repository {
  readonly kind = 'qcow2-chain'
  readonly repositoryId: string
  readonly chunkSizeBytes: number
  readonly idKey: Uint8Array
  readonly chainCare: ChainCare = {
    shorten: async (restorePointId, call) =>
      await this.#change(restorePointId, call, (point) => ({ ...point, chainLength: 1 })),
  }
  readonly #store: MemoryRepositoryStore
  readonly #clock: Clock
  readonly #capacityBytes: number
  readonly #chainPointsMax: number
  readonly #lockedVms = new Set<string>()

  constructor(store: MemoryRepositoryStore, options: MemoryRepositoryOptions) {
    this.#store = store
    this.repositoryId = store.repositoryId
    this.chunkSizeBytes = store.chunkSizeBytes
    this.idKey = store.idKey
    this.#clock = options.clock ?? systemClock
    this.#capacityBytes = options.capacityBytes ?? CAPACITY_DEFAULT_BYTES
    this.#chainPointsMax = options.chainPointsMax ?? CHAIN_POINTS_MAX
  }

  async getCapacity({ signal }: CallOptions): Promise<RepositoryCapacity> {
    signal.throwIfAborted()
    let usedBytes = 0
    for (const { sealed } of this.#store.points.values()) {
      for (const disk of sealed.manifest.disks) usedBytes += disk.storedBytes
    }
    return { capacityBytes: this.#capacityBytes, freeBytes: Math.max(0, this.#capacityBytes - usedBytes) }
  }

  async *listRestorePoints(
    filter: { readonly vmId?: string },
    { signal }: CallOptions,
  ): AsyncGenerator<SealedManifest> {
    const all = [...this.#store.points.values()].map((point) => point.sealed)
    for (const sealed of all.toSorted(byTime)) {
      signal.throwIfAborted()
      if (filter.vmId === undefined || sealed.manifest.vmId === filter.vmId) yield sealed
    }
  }

  async getRestorePoint(restorePointId: string, { signal }: CallOptions): Promise<SealedManifest> {
    signal.throwIfAborted()
    return this.#get(restorePointId).sealed
  }

  async isChainFull(restorePointId: string, { signal }: CallOptions): Promise<boolean> {
    signal.throwIfAborted()
    return this.#get(restorePointId).chainLength >= this.#chainPointsMax
  }

  async openBackup(backup: NewBackup, call: CallOptions): Promise<BackupWriter> {
    const { freeBytes } = await this.getCapacity(call)
    checkNewBackup(backup)
    const expectedBytes = backup.disks.reduce((sum, disk) => sum + (disk.expectedBytes ?? 0), 1)
    if (freeBytes < expectedBytes) throw noSpace(freeBytes)
    if (this.#store.points.has(backup.restorePointId)) {
      throw new PlatformError('input.invalid', `restore point ${backup.restorePointId} exists already`)
    }
    const parent = this.#parentOf(backup)
    const disks = new Map(backup.disks.map((asked) => [asked.diskId, this.#openDisk(asked, backup, parent, freeBytes)]))
    this.#expectUnlocked(backup.vmId)
    this.#lockedVms.add(backup.vmId)
    return new MemoryBackupWriter(disks, {
      seal: (facts) => this.#seal(backup, parent, disks, facts),
      close: () => this.#lockedVms.delete(backup.vmId),
    })
  }

  async openRestorePoint(restorePointId: string, { signal }: CallOptions): Promise<RestorePointReader> {
    signal.throwIfAborted()
    const point = this.#get(restorePointId)
    const disks = new Map<string, { source: BlockSource; chunkIds: ChunkIds }>()
    for (const [diskId, content] of point.disks) {
      disks.set(diskId, {
        source: diskOf(content.bytes),
        chunkIds: this.#idsOf(content.bytes.length, content.chunkIds),
      })
    }
    return { sealed: point.sealed, disks, [Symbol.asyncDispose]: async () => disks.clear() }
  }

  async deleteRestorePoint(restorePointId: string, call: CallOptions): Promise<void> {
    await this.#change(restorePointId, call, () => undefined)
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  /** Undefined: it goes. Every point is held whole, so that no other one minds. */
  async #change(
    restorePointId: string,
    { signal }: CallOptions,
    change: (point: StoredPoint) => StoredPoint | undefined,
  ): Promise<void> {
    signal.throwIfAborted()
    const point = this.#get(restorePointId)
    this.#expectUnlocked(point.sealed.manifest.vmId)
    const changed = change(point)
    if (changed === undefined) this.#store.points.delete(restorePointId)
    else this.#store.points.set(restorePointId, changed)
  }

  #expectUnlocked(vmId: string): void {
    if (!this.#lockedVms.has(vmId)) return
    throw new PlatformError('repository.locked', `VM ${vmId} is being written to this repository`)
  }

  #get(restorePointId: string): StoredPoint {
    const point = this.#store.points.get(restorePointId)
    if (point !== undefined) return point
    throw restorePointNotFound(restorePointId)
  }

  #parentOf(backup: NewBackup): StoredPoint | undefined {
    const id = backup.parentRestorePointId
    if (id === undefined) return undefined
    const parent = this.#store.points.get(id)
    if (parent === undefined) throw baseMismatch(`restore point ${id} does not exist`, id)
    const builds = backup.disks.some((disk) => disk.mode !== 'full')
    if (builds && parent.chainLength >= this.#chainPointsMax) {
      throw baseMismatch(`the chain of restore point ${id} is full: the next backup must be full`, id)
    }
    return parent
  }

  #openDisk(
    asked: NewBackupDisk,
    backup: NewBackup,
    parent: StoredPoint | undefined,
    freeBytes: number,
  ): MemoryWriterDisk {
    const { diskId, sizeBytes } = asked
    if (asked.mode === 'full' || parent === undefined) {
      const disk = createMemoryDisk({ sizeBytes })
      return {
        diskId,
        content: disk.bytes,
        sink: limitedSink(disk, freeBytes),
        chunkIds: new ChunkIds(sizeBytes, this.chunkSizeBytes),
      }
    }
    baseDiskOf(asked, backup, parent.sealed)
    const old = parent.disks.get(diskId)
    assert(old !== undefined)
    const disk = diskOf(old.bytes)
    const base = diskOf(old.bytes)
    return {
      diskId,
      content: disk.bytes,
      sink: limitedSink(disk, freeBytes),
      base,
      chunkIds: this.#idsOf(sizeBytes, old.chunkIds),
    }
  }

  #idsOf(sizeBytes: number, ids: Uint8Array): ChunkIds {
    const chunkIds = new ChunkIds(sizeBytes, this.chunkSizeBytes)
    chunkIds.bytes.set(ids)
    return chunkIds
  }

  #seal(
    backup: NewBackup,
    parent: StoredPoint | undefined,
    disks: ReadonlyMap<string, MemoryWriterDisk>,
    facts: SealFacts,
  ): SealedManifest {
    const stored = new Map<string, StoredDisk>()
    for (const fact of facts.disks) {
      const disk = disks.get(fact.diskId)
      const pages = disk === undefined ? [] : [...pagesOf(disk.chunkIds)].map((page) => page.hash)
      stored.set(fact.diskId, { pages, storedBytes: fact.writtenBytes })
    }
    const { repositoryId, chunkSizeBytes } = this
    const sealedAt = this.#clock.now()
    const manifest = newManifest({
      repositoryId,
      chunkSizeBytes,
      backup,
      parent: parent?.sealed,
      facts,
      stored,
      sealedAt,
    })
    const sealed = { manifest, manifestHash: createHash('sha256').update(JSON.stringify(manifest)).digest('hex') }
    const contents = [...disks].map(
      ([diskId, disk]) => [diskId, { bytes: disk.content, chunkIds: disk.chunkIds.bytes.slice() }] as const,
    )
    const builds = backup.disks.some((disk) => disk.mode !== 'full')
    const chainLength = builds ? (parent?.chainLength ?? 0) + 1 : 1
    this.#store.points.set(backup.restorePointId, { sealed, disks: new Map(contents), chainLength })
    return sealed
  }
}

interface MemoryWriterDisk extends BackupWriterDisk {
  readonly content: Uint8Array
}

class MemoryBackupWriter implements BackupWriter {
  readonly disks: ReadonlyMap<string, BackupWriterDisk>
  readonly #seal: (facts: SealFacts) => SealedManifest
  readonly #close: () => void
  #state: 'open' | 'sealed' | 'disposed' = 'open'

  constructor(
    disks: ReadonlyMap<string, MemoryWriterDisk>,
    own: { seal: (facts: SealFacts) => SealedManifest; close: () => void },
  ) {
    this.disks = disks
    this.#seal = own.seal
    this.#close = own.close
  }

  async seal(facts: SealFacts, { signal }: CallOptions): Promise<SealedManifest> {
    assert.equal(this.#state, 'open', 'a restore point is sealed once')
    signal.throwIfAborted()
    const sealed = this.#seal(facts)
    this.#state = 'sealed'
    return sealed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'disposed') return
    this.#state = 'disposed'
    this.#close()
  }
}

/** `disk` as a sink that has room for `freeBytes` of data, however often a range is written. */
function limitedSink(disk: MemoryDisk, freeBytes: number): BlockSink {
  let writtenBytes = 0
  return {
    sizeBytes: disk.sizeBytes,
    write: async (offsetBytes, bytes, options) => {
      if (writtenBytes + bytes.length > freeBytes) throw noSpace(freeBytes - writtenBytes)
      await disk.write(offsetBytes, bytes, options)
      writtenBytes += bytes.length
    },
    writeZeroes: async (offsetBytes, lengthBytes, options) => await disk.writeZeroes(offsetBytes, lengthBytes, options),
    flush: async (options) => await disk.flush(options),
    [Symbol.asyncDispose]: async () => await disk[Symbol.asyncDispose](),
  }
}

/** A disk with a copy of that content. */
function diskOf(content: Uint8Array): MemoryDisk {
  return createMemoryDisk({ sizeBytes: content.length, content })
}

function noSpace(freeBytes: number): PlatformError {
  return new PlatformError('repository.no_space', `the repository has ${freeBytes} bytes free, that is not enough`, {
    details: { freeBytes },
  })
}

function byTime(a: SealedManifest, b: SealedManifest): number {
  if (a.manifest.takenAt !== b.manifest.takenAt) return a.manifest.takenAt < b.manifest.takenAt ? -1 : 1
  return a.manifest.restorePointId < b.manifest.restorePointId ? -1 : 1
}
