import type { BackupMode } from '@sendense/shared/domain/backup-reason.ts'
import type { BlockSink } from '../block/block-sink.ts'
import type { BlockSource } from '../block/block-source.ts'
import type { ChunkIds } from './chunk-ids.ts'

/** Counters of one running copy, in bytes. They only grow. */
export interface CopyProgress {
  /** Of the plan: what is settled, read or not. Ends at `plannedBytes`. */
  readonly doneBytes: number
  /** What the plan means to look at: all of the disk that is not known to be clean or zero. */
  readonly plannedBytes: number
  /** Read from the source. */
  readonly readBytes: number
  /** Read from the base to complete chunks that are dirty in part. */
  readonly baseReadBytes: number
  /** Written as data. */
  readonly writtenBytes: number
  /** Written as explicit zeros. */
  readonly zeroedBytes: number
}

export interface BackupCopyTask {
  readonly mode: BackupMode
  readonly source: BlockSource
  readonly sink: BlockSink
  /** The parent restore point's content; required but for mode `full`. */
  readonly base?: BlockSource
  /** In: the parent's ids (all zero for `full`). Out: the ids of the new content. */
  readonly chunkIds: ChunkIds
  /** 32 bytes: the key of the repository's chunk ids. */
  readonly idKey: Uint8Array
  readonly readRateMaxBytesPerSecond?: number
}

export interface RestoreCopyTask {
  /** A restore point's content. */
  readonly source: BlockSource
  /** Absent: the content is only checked. The sink must read as zeros before. */
  readonly sink?: BlockSink
  readonly chunkIds: ChunkIds
  readonly idKey: Uint8Array
}

export interface CopyOptions {
  readonly signal: AbortSignal
  /** Called a few times a second and once at the end. */
  readonly onProgress?: (progress: CopyProgress) => void
}

/**
 * Moves the blocks of disks. Source and sink stay the caller's to dispose. When both have an `endpoint`
 * the copy runs in a worker thread that opens its own connections; otherwise on this thread.
 */
export interface Mover extends AsyncDisposable {
  /**
   * Brings `sink`, which reads as the parent (or zeros for `full`), to the content of `source`, and
   * `chunkIds` with it. What reads as zeros now and was not zeros in the parent is written as explicit
   * zeros. Resolves when the sink is flushed.
   * Rejects with `repository.chunk_corrupt` when a base chunk does not match its id, with what source or sink
   * reject with, or the signal's reason. The sink's content is undefined then.
   */
  copyBackup(task: BackupCopyTask, options: CopyOptions): Promise<CopyProgress>
  /**
   * Reads all of `source`, checks every chunk against its id, and writes it to `sink` if there is one; flushed.
   * Rejects with `repository.chunk_corrupt` naming the first offset that does not match; that chunk is
   * never written.
   */
  copyRestore(task: RestoreCopyTask, options: CopyOptions): Promise<CopyProgress>
}
