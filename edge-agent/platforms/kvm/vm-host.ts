import type { NbdReconnect } from '../../block/block-endpoint.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { VmConfig } from './vm-config.ts'

/** No limit of its own: the time is. */
const NBD_ATTEMPTS_MAX = 10_000

/** What a VM offers on unix sockets of its host: QMP, the guest agent's protocol, NBD while a backup is open. */
export const vmServices = ['monitor', 'guest-agent', 'nbd'] as const
export type VmService = (typeof vmServices)[number]

export interface HostedVm {
  readonly config: VmConfig
  /** Its QEMU process lives. */
  readonly running: boolean
  /** Names of overlays that sessions of ours made beside its disks, open ones and left ones. */
  readonly scratchFiles: readonly string[]
}

/** Room beside the disks of one VM. */
export interface HostSpace {
  /** For people. */
  readonly dir: string
  readonly freeBytes: number
  /** What all overlays of sessions of ours take. */
  readonly scratchBytes: number
}

/** A way to one service of one VM, held until disposed. Disposing never rejects. */
export interface ServiceAddress extends AsyncDisposable {
  /** Unix socket on this machine; stays the same while the address is held. May refuse connections for a while. */
  readonly path: string
  /** Unix socket on the host, as its QEMU names it. */
  readonly hostPath: string
}

/**
 * A machine that runs plain QEMU: what the KVM source connector needs of it, and nothing that QMP gives already. A VM
 * is named by its `vmId`, unique on its host.
 *
 * Methods reject with `source.vm_not_found` where there is no such VM, `source.unreachable` when the host does not
 * answer within its patience, or the signal's reason. All but `freezeGuest` may be repeated: said twice is said once.
 * This contract is executable: vm-host.conformance.ts.
 */
export interface VmHost {
  /** Absent: the agent's own machine. Never changes, and no two hosts of an agent share it. `[0-9a-f-]`. */
  readonly hostId?: string
  /** For people. */
  readonly name: string
  /**
   * How long a connection to a VM's service may be lost before it counts as gone for good. 0: at once, for what is lost
   * on this machine has ended.
   */
  readonly patienceMs: number
  /** By name; VMs whose configuration cannot be trusted are left out. */
  listVms(options: CallOptions): Promise<HostedVm[]>
  findVm(vmId: string, options: CallOptions): Promise<HostedVm | undefined>
  /** What the disk's image says, for a VM that does not run. Rejects with `source.disk_unsupported` when it cannot be read. */
  readDiskSize(vmId: string, diskId: string, options: CallOptions): Promise<number>
  /**
   * Makes an empty QCOW2 overlay beside the disks, in place of one of that name; returns its path as QEMU opens it.
   * `file` is a `scratchFile` of session-names.ts, else `input.invalid`. Rejects with `qemu.command_failed`.
   */
  createScratch(vmId: string, scratch: NewScratch, options: CallOptions): Promise<string>
  /** Removes all overlays of sessions of ours; only when no QEMU uses them. */
  removeScratch(vmId: string, options: CallOptions): Promise<void>
  measureSpace(vmId: string, options: CallOptions): Promise<HostSpace>
  /**
   * Opens a way to a service. It may be that nobody listens there yet.
   * Rejects with `source.vm_not_running`, or `source.busy` when all ways are taken until the signal's end.
   */
  openService(vmId: string, service: VmService, options: CallOptions): Promise<ServiceAddress>
  /**
   * Freezes the guest's file systems where its agent can do that; false where it cannot. Whatever becomes of the caller
   * or of the way to the host, the guest is thawed no later than seconds after `maxMs`, where `patienceMs` is not 0.
   * Rejects with `source.snapshot_failed` when the guest may be frozen and cannot be thawed.
   */
  freezeGuest(vmId: string, freeze: { readonly maxMs: number }, options: CallOptions): Promise<boolean>
  /**
   * Thaws a guest that may be frozen; returns how many file systems were. Not bound to a caller's signal: no
   * cancellation leaves a guest frozen. Rejects with `source.snapshot_failed` when its agent does not answer.
   */
  thawGuest(vmId: string, thaw?: { readonly attemptsMax?: number }): Promise<number>
}

export interface NewScratch {
  readonly file: string
  readonly sizeBytes: number
}

/** A VM and the host it is on. */
export interface LocatedVm {
  readonly host: VmHost
  readonly config: VmConfig
}

/**
 * How long NBD goes on without its way to that host: longer than the rest of a backup does, so that it is the backup that
 * says why it ended. A way on this machine is not dialled again.
 */
export function nbdPatience({ patienceMs }: Pick<VmHost, 'patienceMs'>): { readonly reconnect?: NbdReconnect } {
  if (patienceMs === 0) return {}
  return { reconnect: { forMs: 2 * patienceMs, attemptsMax: NBD_ATTEMPTS_MAX } }
}

/** The platform's name of a VM: its id, and before it that of its host, unless that is the agent's own machine. */
export function platformRefOf({ host: { hostId }, config: { vmId } }: LocatedVm): string {
  return hostId === undefined ? vmId : `${hostId}/${vmId}`
}

/** Whether a platform's name of a VM is one of that host; returns the VM's id there. */
export function vmIdOn(host: Pick<VmHost, 'hostId'>, platformRef: string): string | undefined {
  if (host.hostId === undefined) return platformRef.includes('/') ? undefined : platformRef
  const prefix = `${host.hostId}/`
  return platformRef.startsWith(prefix) ? platformRef.slice(prefix.length) : undefined
}
