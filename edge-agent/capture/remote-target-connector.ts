import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import type { BlockSink } from '../block/block-sink.ts'
import type { CallOptions } from '../block/block-source.ts'
import { lazyNbdSink } from '../nbd/client/lazy-nbd-disk.ts'
import { describeVm } from '../platforms/kvm/describe-vm.ts'
import { nbdPatience, vmIdOn } from '../platforms/kvm/vm-host.ts'
import type { VmMonitors } from '../platforms/kvm/vm-monitors.ts'
import type { SourceVm } from '../platforms/source-connector.ts'
import type { BootProof, NewVm, NewVmRequest, TargetConnector } from '../platforms/target-connector.ts'
import { captureMethods } from './capture-protocol.ts'
import type { RemoteVmHost } from './remote-vm-host.ts'

export interface RemoteTargetOptions {
  readonly host: RemoteVmHost
  readonly monitors: VmMonitors
}

/** Makes VMs on a host that a capture agent speaks for; their disks are written through the tunnel. */
export class RemoteTargetConnector implements TargetConnector {
  readonly kind = 'kvm'
  readonly #host: RemoteVmHost
  readonly #monitors: VmMonitors
  /** Creations under way in this process: `reconcile` leaves them alone. */
  readonly #open = new Set<string>()

  constructor({ host, monitors }: RemoteTargetOptions) {
    this.#host = host
    this.#monitors = monitors
  }

  async createVm(request: NewVmRequest, { signal }: CallOptions): Promise<NewVm> {
    signal.throwIfAborted()
    const { creationId, name, memoryBytes, cpuCount, disks } = request
    const params = captureMethods['create-vm'].params.safeParse({ creationId, name, memoryBytes, cpuCount, disks })
    if (!params.success) {
      throw new PlatformError('input.invalid', `a VM ${name} cannot be made here: ${params.error.message}`)
    }
    if (this.#open.has(creationId)) {
      throw new PlatformError('target.vm_exists', `the VM ${name} is being made`, { details: { name } })
    }
    this.#open.add(creationId)
    try {
      const { port, exports } = await this.#host.control.call('create-vm', params.data, { signal })
      const sinks = disks.map(({ diskId, sizeBytes }) => {
        const exportName = exports.find((candidate) => candidate.diskId === diskId)?.exportName
        if (exportName === undefined) throw new PlatformError('capture.protocol_violation', `no export of ${diskId}`)
        const address = { transport: 'unix' as const, path: this.#host.socketPath(port) }
        return [
          diskId,
          lazyNbdSink({ endpoint: { kind: 'nbd', address, exportName, ...nbdPatience(this.#host) }, sizeBytes }),
        ] as const
      })
      return new RemoteNewVm(this.#host, creationId, {
        disks: new Map(sinks),
        onClosed: () => this.#open.delete(creationId),
      })
    } catch (error) {
      this.#open.delete(creationId)
      throw error
    }
  }

  async startVm(
    platformRef: string,
    { signal, timeoutMs, onConsole }: CallOptions & { timeoutMs: number; onConsole?: (line: string) => void },
  ): Promise<BootProof> {
    signal.throwIfAborted()
    const vmId = this.#expectVmId(platformRef)
    const onNote = (note: unknown): void => {
      const parsed = captureMethods['start-vm'].note.safeParse(note)
      if (parsed.success) onConsole?.(parsed.data.console)
    }
    return await this.#host.control.call('start-vm', { vmId, timeoutMs }, { signal, onNote })
  }

  async stopVm(platformRef: string, { signal }: CallOptions): Promise<void> {
    const vmId = vmIdOn(this.#host, platformRef)
    if (vmId !== undefined) await this.#host.control.call('stop-vm', { vmId }, { signal })
  }

  async deleteVm(platformRef: string, { signal }: CallOptions): Promise<void> {
    const vmId = vmIdOn(this.#host, platformRef)
    if (vmId !== undefined) await this.#host.control.call('delete-vm', { vmId }, { signal })
  }

  async findCreated(creationId: string, { signal }: CallOptions): Promise<SourceVm | undefined> {
    const { vmId } = await this.#host.control.call('find-created', { creationId }, { signal })
    const vm = vmId === undefined ? undefined : await this.#host.findVm(vmId, { signal })
    return vm === undefined ? undefined : await describeVm(this.#host, vm, { monitors: this.#monitors, signal })
  }

  async reconcile(keep: readonly string[], { signal }: CallOptions): Promise<void> {
    const kept = [...new Set([...keep, ...this.#open])]
    await this.#host.control.call('reconcile-vms', { keep: kept }, { signal })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Host and monitors are the caller's.
  }

  #expectVmId(platformRef: string): string {
    const vmId = z.uuid().safeParse(vmIdOn(this.#host, platformRef))
    if (vmId.success) return vmId.data
    throw new PlatformError('source.vm_not_found', `there is no VM ${platformRef} on ${this.#host.name}`, {
      details: { platformRef },
    })
  }
}

class RemoteNewVm implements NewVm {
  readonly disks: ReadonlyMap<string, BlockSink>
  readonly #host: RemoteVmHost
  readonly #creationId: string
  readonly #onClosed: () => void
  #finished = false
  #closed: Promise<void> | undefined

  constructor(
    host: RemoteVmHost,
    creationId: string,
    parts: { readonly disks: ReadonlyMap<string, BlockSink>; readonly onClosed: () => void },
  ) {
    this.#host = host
    this.#creationId = creationId
    this.disks = parts.disks
    this.#onClosed = parts.onClosed
  }

  async finish({ signal }: CallOptions): Promise<string> {
    await this.#closeSinks()
    const { vmId } = await this.#host.control.call('finish-vm', { creationId: this.#creationId }, { signal })
    this.#finished = true
    this.#onClosed()
    return `${this.#host.hostId}/${vmId}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close()
    await this.#closed
  }

  /** Where the host is away now, the next `reconcile` removes what was made, or the capture agent does by itself. */
  async #close(): Promise<void> {
    await this.#closeSinks()
    if (this.#finished) return
    const options = { signal: new AbortController().signal }
    await this.#host.control.call('discard-vm', { creationId: this.#creationId }, options).catch(() => {})
    this.#onClosed()
  }

  async #closeSinks(): Promise<void> {
    await Promise.allSettled([...this.disks.values()].map(async (sink) => await sink[Symbol.asyncDispose]()))
  }
}
