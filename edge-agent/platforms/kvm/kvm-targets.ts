import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { SourceVm } from '../source-connector.ts'
import type { BootProof, NewVm, NewVmRequest, TargetConnector } from '../target-connector.ts'
import { type VmHost, vmIdOn } from './vm-host.ts'

/** One host, and how VMs are made on it. */
export interface KvmPlace {
  readonly host: Pick<VmHost, 'hostId' | 'name'>
  readonly target: TargetConnector
}

/** All the plain-QEMU hosts that VMs can be made on, as they are now. What names a VM finds its host; a new one goes `near`. */
export class KvmTargets implements TargetConnector {
  readonly kind = 'kvm'
  readonly #places: () => readonly KvmPlace[]

  /** Places stay the caller's to dispose. The first one takes what has no host of its own. */
  constructor(places: () => readonly KvmPlace[]) {
    this.#places = places
  }

  near(originRef: string): TargetConnector {
    const places = this.#places()
    const place = places.find(({ host }) => vmIdOn(host, originRef) !== undefined) ?? places[0]
    if (place !== undefined) return place.target
    throw new PlatformError('target.create_failed', 'there is no KVM host that a VM could be made on', {
      details: { originRef },
    })
  }

  async createVm(request: NewVmRequest, options: CallOptions): Promise<NewVm> {
    return await this.near('').createVm(request, options)
  }

  async startVm(platformRef: string, options: Parameters<TargetConnector['startVm']>[1]): Promise<BootProof> {
    const target = this.#of(platformRef)
    if (target !== undefined) return await target.startVm(platformRef, options)
    throw new PlatformError('source.vm_not_found', `there is no VM ${platformRef} on any host`, {
      details: { platformRef },
    })
  }

  async stopVm(platformRef: string, options: CallOptions): Promise<void> {
    await this.#of(platformRef)?.stopVm(platformRef, options)
  }

  async deleteVm(platformRef: string, options: CallOptions): Promise<void> {
    await this.#of(platformRef)?.deleteVm(platformRef, options)
  }

  async findCreated(creationId: string, options: CallOptions): Promise<SourceVm | undefined> {
    for (const { target } of this.#places()) {
      const vm = await target.findCreated(creationId, options)
      if (vm !== undefined) return vm
    }
    return undefined
  }

  /** A host that is away is passed over: its capture agent removes by itself what nobody comes back for. */
  async reconcile(keep: readonly string[], options: CallOptions): Promise<void> {
    for (const { target } of this.#places()) {
      try {
        await target.reconcile(keep, options)
      } catch (error) {
        options.signal.throwIfAborted()
        if (!isPlatformError(error, 'source.unreachable')) throw error
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Its places are the caller's.
  }

  #of(platformRef: string): TargetConnector | undefined {
    return this.#places().find(({ host }) => vmIdOn(host, platformRef) !== undefined)?.target
  }
}
