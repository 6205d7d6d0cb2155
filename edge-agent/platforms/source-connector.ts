import type { BackupMode, BackupReason } from '@sendense/shared/domain/backup-reason.ts'
import type { ConsistencyLevel } from '@sendense/shared/domain/consistency.ts'
import type { PlatformKind } from '@sendense/shared/domain/platform.ts'
import type { BlockSource, CallOptions } from '../block/block-source.ts'
import type { ReadGuestIo } from '../mover/latency-guard.ts'

export interface SourceDisk {
  readonly diskId: string
  readonly sizeBytes: number
  readonly changeTracking: boolean
}

export interface SourceVm {
  /** The platform's own, stable name of the VM. */
  readonly platformRef: string
  readonly name: string
  /** Host it is on, where that is not the agent's own machine. */
  readonly hostName?: string
  readonly powerState: 'running' | 'stopped' | 'paused' | 'unknown'
  readonly guestAgent: boolean
  readonly memoryBytes: number
  readonly cpuCount: number
  readonly disks: readonly SourceDisk[]
  /** Whatever the platform's target connector needs to make such a VM again; JSON, kept in the manifest. */
  readonly definition: Readonly<Record<string, unknown>>
  /** Where the target connector made this VM: the id it was given then. */
  readonly creationId?: string
}

/**
 * What the last sealed restore point knows of a disk's change tracking, opaque but to its connector. Part of
 * the sealed manifest and of the catalogue; both must agree before it is used.
 */
export interface TrackingToken {
  readonly diskId: string
  readonly sizeBytes: number
  /**
   * Name of the checkpoint on the platform: a bitmap, a change id, a snapshot id. Empty: the base restore point has
   * this disk, but there is no tracking of it that can be trusted, so the disk is compared.
   */
  readonly checkpoint: string
  /** Bytes each bit stands for, 0 where that means nothing. */
  readonly granularityBytes: number
}

export interface BackupRequest {
  readonly platformRef: string
  /** Names everything this session makes on the platform; `[0-9a-f-]`, unique for ever. */
  readonly sessionId: string
  readonly quiesce: boolean
  /** Tokens of the base restore point, by disk. A disk without one is read in full. */
  readonly base: ReadonlyMap<string, TrackingToken>
  /** Asked for by a person: no tracking is used, reason FULL_REQUESTED. */
  readonly full: boolean
}

/** One disk, frozen at the session's instant. */
export interface FrozenDisk {
  readonly diskId: string
  readonly sizeBytes: number
  readonly mode: BackupMode
  readonly reason: BackupReason
  /** Content at the instant. With mode `incremental` its extents say what is dirty since the base. */
  readonly source: BlockSource
  /** The next backup's base, once this session is committed. Absent: the disk cannot track changes. */
  readonly token?: TrackingToken
}

/**
 * All disks of a VM at one instant. While it is open the guest runs on and its writes are not seen here.
 * Disposing an uncommitted session removes everything it made and leaves the base's tracking as it was:
 * the next backup from the same base is right. Disposing never rejects because things are already gone.
 */
export interface SourceBackupSession extends AsyncDisposable {
  readonly takenAt: Date
  readonly consistency: ConsistencyLevel
  /** The VM as it was at the instant. */
  readonly vm: SourceVm
  readonly disks: readonly FrozenDisk[]
  /** Aborts when the session can no longer be trusted (VM gone, fleecing space used up); the reason is a PlatformError. */
  readonly lost: AbortSignal
  /**
   * What the guest itself does on its disks: who copies them watches it, to spare the guest. Rejects as `openBackup`.
   * Absent: the platform does not tell.
   */
  readonly guestIo?: ReadGuestIo
  /**
   * Call only after the restore point's manifest is durable. Makes `token` of each disk the base and drops the
   * old checkpoints. Idempotent; may be killed at any instant, then `reconcile` finishes it.
   */
  commit(options: CallOptions): Promise<void>
}

/** One of the hosts behind a connector, which may be away while the others answer. */
export interface SourcePart {
  /** For people. */
  readonly name: string
  /** Whether a VM of that name is this part's, there or not. */
  owns(platformRef: string): boolean
  /** As the connector's, of this part alone. */
  listVms(options: CallOptions): AsyncIterable<SourceVm>
}

/**
 * A hypervisor or cloud that VMs are protected on.
 *
 * A connector only talks to its platform. It does not retry, throttle, log progress or hash. Methods reject
 * with PlatformError `source.*`. This contract is executable: source-connector.conformance.ts.
 */
export interface SourceConnector extends AsyncDisposable {
  readonly kind: PlatformKind
  /** Every VM the credentials can see, in no particular order. */
  listVms(options: CallOptions): AsyncIterable<SourceVm>
  /**
   * The parts that there are now, each listed by itself: one that does not answer says nothing about its own VMs and
   * hides no others. Absent: the connector is one part. A VM that no part owns is gone.
   */
  parts?(): readonly SourcePart[]
  /** Rejects with `source.vm_not_found`. */
  getVm(platformRef: string, options: CallOptions): Promise<SourceVm>
  /**
   * Freezes all disks at one instant and opens them.
   * Rejects with `source.vm_not_found`, `source.vm_not_running`, `source.busy` (another session is open, or left
   * behind and not reconciled),
   * `source.snapshot_failed`.
   */
  openBackup(request: BackupRequest, options: CallOptions): Promise<SourceBackupSession>
  /**
   * Ends what dead sessions of ours left alive on a VM: frozen file systems, exports, jobs, overlays. Touches no
   * checkpoint, so it needs no knowledge of restore points, and the VM can be backed up from any base afterwards. For a
   * VM that is not there it does nothing. Rejects with `source.busy` while a session of this connector is open on it.
   */
  clearSessions(platformRef: string, options: CallOptions): Promise<void>
  /**
   * Removes all that dead sessions of ours left on a VM, what `clearSessions` ends and their checkpoints, and
   * keeps the checkpoints named in `keep`: those of the newest sealed restore point. Foreign checkpoints are
   * never touched. For a VM that is not there it does nothing. Rejects with `source.busy` while a session of this
   * connector is open on it.
   */
  reconcile(platformRef: string, keep: readonly TrackingToken[], options: CallOptions): Promise<void>
}
