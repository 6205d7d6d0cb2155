import { randomUUID } from 'node:crypto'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type ChangeTracker, createMemoryDisk, type MemoryDisk } from '../../block/memory-disk.ts'
import type { SourceVm } from '../source-connector.ts'

const GRANULARITY_BYTES = 65_536

export interface NewMemoryDisk {
  readonly diskId: string
  readonly sizeBytes: number
  /** True unless given. */
  readonly changeTracking?: boolean
}

export interface NewMemoryVm {
  readonly name: string
  readonly disks: readonly NewMemoryDisk[]
  /** With one, a backup that quiesces is file-system consistent. False unless given. */
  readonly guestAgent?: boolean
  readonly creationId?: string
  readonly definition?: Readonly<Record<string, unknown>>
  readonly memoryBytes?: number
  readonly cpuCount?: number
}

/** One disk of a VM in memory: what the guest sees, and its checkpoints, ours and foreign ones, by name. */
export interface MemoryVmDisk {
  readonly diskId: string
  readonly content: MemoryDisk
  readonly changeTracking: boolean
  readonly checkpoints: Map<string, ChangeTracker>
}

export interface MemoryVm {
  readonly platformRef: string
  readonly description: NewMemoryVm
  readonly disks: ReadonlyMap<string, MemoryVmDisk>
  /** Sessions that were opened and not cleaned up, alive or dead, as exports on a real hypervisor. */
  readonly sessions: Set<string>
  powerState: 'running' | 'stopped'
}

/**
 * A hypervisor in memory: it outlives its connectors as a real one outlives the agent, so dropping a connector and
 * making another is a crash of the agent. The guest's writes are `disk(…).write`, `writeZeroes`.
 */
export class MemoryHypervisor {
  readonly granularityBytes = GRANULARITY_BYTES
  /** VMs that a target connector has begun to make, by creation id; they are not listed. */
  readonly drafts = new Map<string, { readonly name: string }>()
  readonly #vms = new Map<string, MemoryVm>()

  /** Returns its platformRef. It runs. */
  addVm(description: NewMemoryVm): string {
    const platformRef = randomUUID()
    const disks = description.disks.map(({ diskId, sizeBytes, changeTracking = true }) => {
      const content = createMemoryDisk({ sizeBytes, granularityBytes: GRANULARITY_BYTES })
      return [diskId, { diskId, content, changeTracking, checkpoints: new Map<string, ChangeTracker>() }] as const
    })
    const sessions = new Set<string>()
    this.#vms.set(platformRef, { platformRef, description, disks: new Map(disks), sessions, powerState: 'running' })
    return platformRef
  }

  /** What the guest sees of a disk; live. */
  disk(platformRef: string, diskId: string): MemoryDisk {
    return this.vmDisk(platformRef, diskId).content
  }

  vmDisk(platformRef: string, diskId: string): MemoryVmDisk {
    const disk = this.get(platformRef).disks.get(diskId)
    if (disk === undefined)
      throw new PlatformError('source.disk_unsupported', `VM ${platformRef} has no disk ${diskId}`)
    return disk
  }

  /** As a killed hypervisor: it is started again, and no checkpoint of any disk can be trusted. */
  loseTracking(platformRef: string): void {
    const vm = this.get(platformRef)
    vm.sessions.clear()
    for (const disk of vm.disks.values()) disk.checkpoints.clear()
  }

  list(): MemoryVm[] {
    return [...this.#vms.values()]
  }

  /** Throws `source.vm_not_found`. */
  get(platformRef: string): MemoryVm {
    const vm = this.#vms.get(platformRef)
    if (vm === undefined) {
      throw new PlatformError('source.vm_not_found', `there is no VM ${platformRef}`, { details: { platformRef } })
    }
    return vm
  }

  find(platformRef: string): MemoryVm | undefined {
    return this.#vms.get(platformRef)
  }

  /** Takes over a VM that was made on another hypervisor. */
  adopt(vm: MemoryVm): void {
    this.#vms.set(vm.platformRef, vm)
  }

  remove(platformRef: string): void {
    this.#vms.delete(platformRef)
  }
}

export function describeMemoryVm(vm: MemoryVm): SourceVm {
  const { name, guestAgent = false, memoryBytes = 64 * 1024 * 1024, cpuCount = 1, creationId } = vm.description
  return {
    platformRef: vm.platformRef,
    name,
    powerState: vm.powerState,
    guestAgent: guestAgent && vm.powerState === 'running',
    memoryBytes,
    cpuCount,
    disks: [...vm.disks.values()].map(({ diskId, content, changeTracking }) => ({
      diskId,
      sizeBytes: content.sizeBytes,
      changeTracking,
    })),
    definition: vm.description.definition ?? { platform: 'memory' },
    ...(creationId === undefined ? {} : { creationId }),
  }
}
