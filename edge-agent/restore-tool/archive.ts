import type { Extent } from '@sendense/shared/domain/extent.ts'
import type { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockSource, CallOptions } from '../block/block-source.ts'
import type { ChunkIds } from '../mover/chunk-ids.ts'
import type { SealedManifest } from '../repository/restore-point-manifest.ts'

/** A restore point as it is found: what its name says, and its manifest or why that cannot be believed. */
export interface FoundPoint {
  readonly vmId: string
  readonly restorePointId: string
  readonly manifest: SealedManifest | PlatformError
}

/** Bytes of a disk that are nowhere any more. */
export interface LostRange extends Extent {
  readonly diskId: string
  readonly why: string
}

export interface ChunkPlaceName {
  readonly file: string
  readonly number: number
}

/** One disk of a restore point. Reads are proven by nobody yet: `chunkIds` say what they must be. */
export interface ArchivedDisk {
  readonly diskId: string
  readonly source: BlockSource
  readonly chunkIds: ChunkIds
  /**
   * Where a chunk is stored, the same for all restore points that share it there: which file, and which of those in it.
   * Undefined for zeros and for what is stored nowhere. Absent: nothing is shared.
   */
  readonly placeOf?: (index: number) => ChunkPlaceName | undefined
  /** Ranges of which not even the ids are left, in order. Only where that was allowed. */
  readonly lostIds: readonly LostRange[]
}

/** What the files that a restore point needs are like. */
export interface FileReport {
  /** Packs or layers that it needs. */
  readonly count: number
  /** Those that are missing or cannot be read, for people. */
  readonly missing: readonly string[]
}

/** A restore point opened for reading. */
export interface ArchivedPoint extends AsyncDisposable {
  readonly sealed: SealedManifest
  readonly disks: ReadonlyMap<string, ArchivedDisk>
  readonly files: FileReport
}

export interface OpenPointOptions extends CallOptions {
  /** Goes on where ids of chunks are lost, and says so in `lostIds`. */
  readonly skipDamaged: boolean
}

/**
 * A repository of either kind, read without a server, a database or an agent. Nothing in it is ever changed: no lease, no
 * lock, no clearing up. Others may write to it meanwhile; what they delete is gone here too.
 * Rejects with `repository.*` and `storage.*`.
 */
export interface Archive extends AsyncDisposable {
  readonly kind: 'chunk-store' | 'qcow2-chain'
  readonly repositoryId: string
  /** Where it is, for people. */
  readonly description: string
  /** 32 bytes: the key of its chunk ids. */
  readonly idKey: Uint8Array
  /** What is not as it should be, but harms no restore point by itself. */
  readonly warnings: readonly string[]
  /** All of them, oldest first; those whose manifests cannot be believed too. */
  listRestorePoints(options: CallOptions): Promise<readonly FoundPoint[]>
  /** @param onWarning told what was found wrong on the way and could be got around */
  openRestorePoint(
    sealed: SealedManifest,
    options: OpenPointOptions & { readonly onWarning: (text: string) => void },
  ): Promise<ArchivedPoint>
}
