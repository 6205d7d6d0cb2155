import type { BackupMode } from '@sendense/shared/domain/backup-reason.ts'
import type { BlockSink } from '../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../block/block-source.ts'
import type { ChunkIds } from '../mover/chunk-ids.ts'
import type { ManifestDisk, RestorePointManifest, SealedManifest } from './restore-point-manifest.ts'

export interface NewBackupDisk {
  readonly diskId: string
  readonly sizeBytes: number
  /** `incremental` and `compare` build on the parent's disk of the same id, which must have the same size. */
  readonly mode: BackupMode
  /** Bytes that are certain to be written, where the caller knows: refused at once when they cannot fit. */
  readonly expectedBytes?: number
}

export interface NewBackup {
  readonly restorePointId: string
  readonly vmId: string
  /** Required as soon as one disk is not `full`. */
  readonly parentRestorePointId?: string
  readonly disks: readonly NewBackupDisk[]
}

/** One disk of a restore point in the making. */
export interface BackupWriterDisk {
  readonly diskId: string
  /** Reads as the parent's content, or zeros for `full`, until written. */
  readonly sink: BlockSink
  /** The parent's content; absent for `full`, and where `sink.chunks` is there: such chunks are read whole from the source. */
  readonly base?: BlockSource
  /** Filled with the parent's ids, or zeros for `full`; the mover brings it up to date. */
  readonly chunkIds: ChunkIds
}

/** What the repository adds to a manifest by itself. */
type OwnManifestFields =
  | 'version'
  | 'repositoryId'
  | 'sealedAt'
  | 'protectedUntil'
  | 'disks'
  | 'restorePointId'
  | 'vmId'
  | 'parentRestorePointId'
  | 'parentManifestHash'
export type SealFacts = Omit<RestorePointManifest, OwnManifestFields> & {
  readonly disks: readonly Omit<ManifestDisk, 'pages' | 'layers' | 'storedBytes' | 'chunkSizeBytes' | 'sizeBytes'>[]
}

/**
 * A restore point in the making. Nothing of it is listed until `seal` resolved. Disposing it before that
 * removes what was written; after a crash the next `open` of the repository removes it.
 */
export interface BackupWriter extends AsyncDisposable {
  readonly disks: ReadonlyMap<string, BackupWriterDisk>
  /**
   * Makes data, then pages, then the manifest durable, in that order. Once.
   * Rejects with `repository.no_space`, `repository.io_failed`; then no restore point exists.
   */
  seal(facts: SealFacts, options: CallOptions): Promise<SealedManifest>
}

/** A restore point opened for reading. */
export interface RestorePointReader extends AsyncDisposable {
  readonly sealed: SealedManifest
  readonly disks: ReadonlyMap<string, { readonly source: BlockSource; readonly chunkIds: ChunkIds }>
}

export interface RepositoryCapacity {
  readonly capacityBytes: number
  readonly freeBytes: number
}

export interface DeleteOptions extends CallOptions {
  /** Hears how far giving back space has come. Deleting itself is short. */
  readonly onProgress?: (progress: { readonly doneBytes: number; readonly totalBytes: number }) => void
}

/** What chains of limited length need. */
export interface ChainCare {
  /**
   * Makes room on the chain of a restore point, which then is not full any more, without its source: reads it through
   * its chain, checks every chunk and moves it to new files. Its content, manifest and hash stay as they are.
   * Rejects as `deleteRestorePoint`, with `repository.no_space`, and with `repository.chunk_corrupt` where the chain is
   * damaged; then the point reads as it did before.
   */
  shorten(restorePointId: string, options: DeleteOptions): Promise<void>
}

/**
 * Keeps restore points. Sealed ones are never changed. This contract is executable:
 * repository.conformance.ts. Errors are `repository.*`.
 */
export interface Repository extends AsyncDisposable {
  readonly repositoryId: string
  readonly kind: 'qcow2-chain' | 'chunk-store'
  readonly chunkSizeBytes: number
  /** Key of its chunk ids, 32 bytes. Never stored beside the data. */
  readonly idKey: Uint8Array
  /** Absent: chains of this kind are never full. */
  readonly chainCare?: ChainCare
  /** Also the probe that it is there and is the right one: rejects with `repository.missing` or `repository.not_a_repository`. */
  getCapacity(options: CallOptions): Promise<RepositoryCapacity>
  /**
   * Sealed restore points, oldest first. Where manifests cannot be trusted it ends with a rejection
   * `repository.manifest_invalid`, after all that can: one damaged point does not hide the others.
   */
  listRestorePoints(filter: { readonly vmId?: string }, options: CallOptions): AsyncIterable<SealedManifest>
  /** Rejects with `repository.restore_point_not_found`, `repository.manifest_invalid`. */
  getRestorePoint(restorePointId: string, options: CallOptions): Promise<SealedManifest>
  /**
   * Whether nothing can be built on this restore point any more because its chain is as long as chains get: the next
   * backup is a full one, with reason `FULL_CHAIN_LIMIT`. Rejects as `getRestorePoint`.
   */
  isChainFull(restorePointId: string, options: CallOptions): Promise<boolean>
  /**
   * Rejects with `repository.no_space` when it is certain not to fit, `repository.base_mismatch` when the parent cannot be
   * built on (missing, another VM's, other disks or sizes, chain full), `repository.locked` when another writer works on the same VM.
   */
  openBackup(backup: NewBackup, options: CallOptions): Promise<BackupWriter>
  /** Rejects as `getRestorePoint`, and with `repository.chunk_corrupt` where files are missing. */
  openRestorePoint(restorePointId: string, options: CallOptions): Promise<RestorePointReader>
  /**
   * Makes one restore point cease to exist, durably, whatever is built on it: all others read as before, and can be built
   * on as before, with the manifests and hashes they had. Who has it open reads on. Its space is given back where that is
   * worth what it costs; what keeps that from happening is made up for later and is no failure of the deletion.
   * When it rejects the point still exists, but for `repository.io_failed`, after which it may be gone.
   * Rejects with `repository.restore_point_not_found`, `repository.locked` while the VM is being written.
   */
  deleteRestorePoint(restorePointId: string, options: DeleteOptions): Promise<void>
}
