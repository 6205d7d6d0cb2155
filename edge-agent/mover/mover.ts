import type { BackupMode } from '@sendense/shared/domain/backup-reason.ts'
import type { BlockSink } from '../block/block-sink.ts'
import type { BlockSource } from '../block/block-source.ts'
import type { ChunkIds } from './chunk-ids.ts'
import type { Lane } from './lane.ts'
import type { PauseSwitch } from './pause-switch.ts'
import type { Throttle } from './rate/shared-throttle.ts'
import type { FairShareOwner } from './slabs/fair-queue.ts'

export const copyStates = ['running', 'pausing', 'paused'] as const
/** `pausing`: what had begun is finished first. `paused`: nothing is under way, no buffer is held. */
export type CopyState = (typeof copyStates)[number]

/** All that a copy has to do below `offsetBytes` is done and durable: another copy of the same disks can go on from there. */
export interface CopyCheckpoint {
  readonly offsetBytes: number
  /** Of the source. */
  readonly sizeBytes: number
  /** Of the plan, below. */
  readonly doneBytes: number
  readonly doneExtents: number
}

/** The start of a copy. */
export const noCheckpoint: CopyCheckpoint = { offsetBytes: 0, sizeBytes: 0, doneBytes: 0, doneExtents: 0 }

/** Where one running copy is. Counters only grow, but for `done…`, which a rewind takes back. */
export interface CopyProgress {
  readonly state: CopyState
  /** Of the plan: what is settled, read or not. Ends at `plannedBytes`. */
  readonly doneBytes: number
  /** What the plan means to look at: all of the disk that is not known to be clean or zero. It grows until `isPlanComplete`. */
  readonly plannedBytes: number
  /** Extents of the plan whose first byte is settled. */
  readonly doneExtents: number
  readonly plannedExtents: number
  /** Whether the source told of its whole extent. */
  readonly isPlanComplete: boolean
  /** Read from the source. */
  readonly readBytes: number
  /** Read from the base to complete chunks that are dirty in part. */
  readonly baseReadBytes: number
  /** Written as data. */
  readonly writtenBytes: number
  /** Written as explicit zeros. */
  readonly zeroedBytes: number
  /** Reads, of source and base, of data and of extents, that failed and were tried again. */
  readonly retriedReads: number
  /** Times the copy went back to its last checkpoint. */
  readonly rewinds: number
  /** The newest one; of nothing where the copy has none. */
  readonly checkpoint: CopyCheckpoint
  /** Read from the source in the last seconds. */
  readonly bytesPerSecond: number
}

export const noProgress: CopyProgress = {
  state: 'running',
  doneBytes: 0,
  plannedBytes: 0,
  doneExtents: 0,
  plannedExtents: 0,
  isPlanComplete: false,
  readBytes: 0,
  baseReadBytes: 0,
  writtenBytes: 0,
  zeroedBytes: 0,
  retriedReads: 0,
  rewinds: 0,
  checkpoint: noCheckpoint,
  bytesPerSecond: 0,
}

/** What every copy may be told. */
export interface AnyCopyTask {
  /** Names the disk in errors. */
  readonly diskId?: string
  /** Whose memory it uses. Absent: a job of its own. */
  readonly owner?: FairShareOwner
  /** Reads keep to all of them. Copies that share one keep to it together; in threads only a SharedThrottle can be kept to. */
  readonly throttles?: readonly Throttle[]
  /** Buffers at most. Default 16 MiB, at least one run (1 MiB, or a chunk). */
  readonly bufferBytesMax?: number
  /** How much may have to be copied again after a loss. Default 1 GiB. */
  readonly checkpointEveryBytes?: number
  /** Only this part of the disks is copied, and others copy the rest. Absent: all of it. */
  readonly lane?: Lane
}

export interface BackupCopyTask extends AnyCopyTask {
  readonly mode: BackupMode
  readonly source: BlockSource
  readonly sink: BlockSink
  /** The parent restore point's content; required but for mode `full` and sinks that have `chunks`. */
  readonly base?: BlockSource
  /** In: the parent's ids (all zero for `full`). Out: the ids of the new content. */
  readonly chunkIds: ChunkIds
  /** 32 bytes: the key of the repository's chunk ids. */
  readonly idKey: Uint8Array
}

interface ResumableCopyTask extends AnyCopyTask {
  /**
   * Where an earlier copy of the same disks had come. Absent: begin at the start. Of a source of another size:
   * `source.disk_size_changed`.
   */
  readonly resumeFrom?: CopyCheckpoint
}

export interface RestoreCopyTask extends ResumableCopyTask {
  /** A restore point's content. */
  readonly source: BlockSource
  /** Absent: the content is only checked. The sink must read as zeros before, but for what an earlier copy of the same wrote. */
  readonly sink?: BlockSink
  readonly chunkIds: ChunkIds
  readonly idKey: Uint8Array
}

export interface DiskCopyTask extends ResumableCopyTask {
  readonly source: BlockSource
  /** Absent: the source is only read. It may be larger than the source; what lies beyond is not touched. */
  readonly sink?: BlockSink
  /** The sink reads as zeros before, but for what an earlier copy of the same wrote: nothing is written where zeros go. */
  readonly sinkIsZero?: boolean
  /** Data that is read as zeros is written as zeros, 64 KiB at a time, not as data. */
  readonly detectZeroes?: boolean
  /** Only what is dirty is copied. */
  readonly dirtyOnly?: boolean
}

export interface CopyOptions {
  readonly signal: AbortSignal
  /** Called a few times a second and once at the end. */
  readonly onProgress?: (progress: CopyProgress) => void
  /**
   * Holds the copy up: what has begun is finished (and flushed, where there are checkpoints), then it holds no buffer and asks
   * nothing of its disks.
   */
  readonly pause?: PauseSwitch
}

/**
 * Moves the blocks of disks. Source and sink stay the caller's to dispose. When all disks have an `endpoint` the copy
 * runs in a worker thread that opens its own connections, and in several at once where others have nothing to do and the
 * disks' `openersMax` allow it; otherwise on this thread.
 *
 * A read of source or base that fails, of data or of extents, is tried again a few times. Where writes got lost
 * (`nbd.writes_uncertain`), its thread ended (`mover.thread_ended`) or the connection to a server on this machine broke that
 * nobody dials again (`nbd.disconnected`, unix socket without `reconnect`), a copy opens its disks anew and goes back to its last
 * checkpoint, a few times for each. In the end every copy rejects with what it failed with, naming disk and range
 * (`source.read_failed`), with what a disk rejects with otherwise, or the signal's reason; nothing of it is under way any more
 * then, and what the sink holds is undefined but for what lies below a checkpoint.
 */
export interface Mover extends AsyncDisposable {
  /**
   * Brings `sink`, which reads as the parent (or zeros for `full`), to the content of `source`, and
   * `chunkIds` with it. What reads as zeros now and was not zeros in the parent is written as explicit
   * zeros. Resolves when the sink is flushed.
   *
   * What was begun beyond a checkpoint it goes back to is written again, all of each chunk, zeros too, whatever the ids say.
   * Rejects with `repository.chunk_corrupt` when a base chunk does not match its id. After a rejection `chunkIds` are of no
   * use.
   */
  copyBackup(task: BackupCopyTask, options: CopyOptions): Promise<CopyProgress>
  /**
   * Reads all of `source`, checks every chunk against its id, and writes it to `sink` if there is one; flushed.
   * Rejects with `repository.chunk_corrupt` naming the first offset that does not match; that chunk is
   * never written.
   */
  copyRestore(task: RestoreCopyTask, options: CopyOptions): Promise<CopyProgress>
  /**
   * Makes `sink` read as `source`; flushed. Nothing is hashed. Rejects with `target.disk_size_mismatch` when the sink is too
   * small.
   */
  copyDisk(task: DiskCopyTask, options: CopyOptions): Promise<CopyProgress>
}
