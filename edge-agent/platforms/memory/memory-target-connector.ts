import type { PlatformKind } from '@sendense/shared/domain/platform.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { SourceVm } from '../source-connector.ts'
import type { BootProof, NewVm, NewVmRequest, TargetConnector } from '../target-connector.ts'
import { describeMemoryVm, MemoryHypervisor, type MemoryVm } from './memory-hypervisor.ts'

/** Makes VMs on a hypervisor in memory. What is in the making is on a second one that nobody lists. */
export class MemoryTargetConnector implements TargetConnector {
  readonly kind: PlatformKind
  readonly #hypervisor: MemoryHypervisor
  readonly #boots: (vm: MemoryVm) => boolean
  readonly #open = new Set<string>()

  constructor(
    hypervisor: MemoryHypervisor,
    options: { readonly kind?: PlatformKind; readonly boots?: (vm: MemoryVm) => boolean } = {},
  ) {
    this.kind = options.kind ?? 'kvm'
    this.#hypervisor = hypervisor
    this.#boots = options.boots ?? (() => true)
  }

  async createVm(request: NewVmRequest, { signal }: CallOptions): Promise<NewVm> {
    signal.throwIfAborted()
    const { creationId, name } = request
    const { drafts } = this.#hypervisor
    const listed = this.#hypervisor.list().map(({ description }) => description)
    const taken = listed.some((vm) => vm.name === name || vm.creationId === creationId)
    if (taken || [...drafts].some(([id, draft]) => draft.name === name && id !== creationId)) {
      throw new PlatformError('target.vm_exists', `there is a VM ${name} already`, { details: { name } })
    }
    const staging = new MemoryHypervisor()
    const vm = staging.get(staging.addVm(request))
    vm.powerState = 'stopped'
    drafts.set(creationId, request)
    this.#open.add(creationId)
    const close = (): void => {
      this.#open.delete(creationId)
      if (drafts.get(creationId) === request) drafts.delete(creationId)
    }
    return {
      disks: new Map([...vm.disks].map(([diskId, { content }]) => [diskId, content])),
      finish: async (options) => {
        options.signal.throwIfAborted()
        close()
        this.#hypervisor.adopt(vm)
        return vm.platformRef
      },
      [Symbol.asyncDispose]: async () => close(),
    }
  }

  async startVm(
    platformRef: string,
    options: CallOptions & { readonly timeoutMs: number; readonly onConsole?: (line: string) => void },
  ): Promise<BootProof> {
    options.signal.throwIfAborted()
    const vm = this.#hypervisor.get(platformRef)
    vm.powerState = 'running'
    const line = `guest ready ${vm.description.name}`
    if (!this.#boots(vm)) throw new PlatformError('target.boot_failed', `${vm.description.name} did not come up`)
    options.onConsole?.(line)
    return { by: 'console', evidence: line, secondsToUp: 0 }
  }

  async stopVm(platformRef: string, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    this.#hypervisor.get(platformRef).powerState = 'stopped'
  }

  async deleteVm(platformRef: string, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    const vm = this.#hypervisor.find(platformRef)
    if (vm === undefined) return
    if (vm.description.creationId === undefined) {
      throw new PlatformError('target.not_ours', `${vm.description.name} was not made by a restore`)
    }
    this.#hypervisor.remove(platformRef)
  }

  async findCreated(creationId: string, { signal }: CallOptions): Promise<SourceVm | undefined> {
    signal.throwIfAborted()
    const vm = this.#hypervisor.list().find(({ description }) => description.creationId === creationId)
    return vm === undefined ? undefined : describeMemoryVm(vm)
  }

  async reconcile(keep: readonly string[], { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    for (const creationId of this.#hypervisor.drafts.keys()) {
      if (!keep.includes(creationId) && !this.#open.has(creationId)) this.#hypervisor.drafts.delete(creationId)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
