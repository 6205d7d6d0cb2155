import type { PlatformKind } from '@sendense/shared/domain/platform.ts'
import type { BlockSink } from '../block/block-sink.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { SourceVm } from './source-connector.ts'

export interface NewVmRequest {
  /** Names everything this makes. What an unfinished creation of the same id left is replaced. */
  readonly creationId: string
  readonly name: string
  /** As the source connector described the original. */
  readonly definition: Readonly<Record<string, unknown>>
  readonly memoryBytes: number
  readonly cpuCount: number
  readonly disks: readonly { readonly diskId: string; readonly sizeBytes: number }[]
}

export interface BootProof {
  readonly by: 'guest-agent' | 'console'
  /** What the guest said, for people: operating system, host name, last console line. */
  readonly evidence: string
  readonly secondsToUp: number
}

/**
 * A VM in the making: its disks can be written, it does not run. Disposing it before `finish` removes all that was
 * made; after `finish` it only closes the disks.
 */
export interface NewVm extends AsyncDisposable {
  /** New disks, of the asked sizes, reading as zeros. */
  readonly disks: ReadonlyMap<string, BlockSink>
  /** Call after all sinks are flushed: the VM exists for the platform from here on, stopped. Returns its platformRef. */
  finish(options: CallOptions): Promise<string>
}

/** A place restored VMs can be made on. This contract is executable: target-connector.conformance.ts. */
export interface TargetConnector extends AsyncDisposable {
  readonly kind: PlatformKind
  /**
   * The place where a VM made from the one of that name belongs: its own host, where that is still one of this
   * platform's. Same argument, same place, for as long as hosts neither come nor go. The place stays the connector's.
   * Throws `target.create_failed` where there is none at all. Absent: the connector is one place.
   */
  near?(originRef: string): TargetConnector
  /**
   * Rejects with `target.vm_exists` when another VM, or one in the making, has the name, or when the VM of this creation
   * is finished (`findCreated` has it); `target.no_space`, `target.create_failed`.
   */
  createVm(request: NewVmRequest, options: CallOptions): Promise<NewVm>
  /**
   * Starts the VM and waits until it shows that it came up.
   * Rejects with `source.vm_not_found`, or `target.boot_failed` when it does not before `timeoutMs`; it is left running
   * then, for people to look at.
   */
  startVm(
    platformRef: string,
    options: CallOptions & { readonly timeoutMs: number; readonly onConsole?: (line: string) => void },
  ): Promise<BootProof>
  /** Stops at once. Does nothing to a VM that does not run. */
  stopVm(platformRef: string, options: CallOptions): Promise<void>
  /** Stops and deletes VM and disks. Does nothing to one that is not there; rejects with `target.not_ours` where no restore made it. */
  deleteVm(platformRef: string, options: CallOptions): Promise<void>
  /** The VM made with that id, or undefined. Used after a restart in the middle. */
  findCreated(creationId: string, options: CallOptions): Promise<SourceVm | undefined>
  /** Removes what unfinished creations of dead connectors left behind, except those in `keep`. */
  reconcile(keep: readonly string[], options: CallOptions): Promise<void>
}
