import type { PowerState } from '@sendense/shared/contracts/inventory.ts'
import type { PlatformKind } from '@sendense/shared/domain/platform.ts'

/** Base of the next incremental of one disk: must agree with the sealed manifest of `restorePointId` before it is used. */
export interface DiskTracking {
  readonly restorePointId: string
  readonly manifestHash: string
  readonly checkpoint: string
  readonly granularityBytes: number
  readonly sizeBytes: number
}

export interface VmDiskRecord {
  readonly diskId: string
  readonly sizeBytes: number
  readonly changeTracking: boolean
  readonly tracking?: DiskTracking
}

/** A VM as the agent knows it, whether or not its platform still has it. Everything else of a VM hangs on its `vmId`. */
export interface VmContextRecord {
  readonly vmId: string
  readonly platform: PlatformKind
  /** Absent where another context has taken the platform's VM over. */
  readonly platformRef?: string
  readonly name: string
  /** Host it is on, where that is not the agent's own machine. */
  readonly hostName?: string
  readonly powerState: PowerState
  readonly guestAgent: boolean
  readonly memoryBytes: number
  readonly cpuCount: number
  /** Did the platform list it the last time it was asked? */
  readonly present: boolean
  readonly restoredFrom?: { readonly restorePointId: string; readonly jobId: string }
  readonly disks: readonly VmDiskRecord[]
}

/** What an inventory knows of a VM: everything but the tracking of its disks. */
export type VmContextFacts = Omit<VmContextRecord, 'disks'> & {
  readonly disks: readonly Omit<VmDiskRecord, 'tracking'>[]
}

export interface VmContextStore {
  find(vmId: string): Promise<VmContextRecord | undefined>
  findByRef(platform: PlatformKind, platformRef: string): Promise<VmContextRecord | undefined>
  /** Ordered by name. */
  list(): Promise<VmContextRecord[]>
  /** Inserts, or replaces the facts; disks that are not named go, tracking of the others stays. */
  put(facts: VmContextFacts): Promise<void>
  /** Replaces the tracking of all disks: a disk that is not named has none afterwards. Unknown disks are skipped. */
  setTracking(vmId: string, tracking: ReadonlyMap<string, DiskTracking>): Promise<void>
}
