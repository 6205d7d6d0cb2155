import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { VmName } from '@sendense/shared/contracts/identifiers.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { SourceVm } from '../source-connector.ts'
import type { BootProof, NewVm, NewVmRequest, TargetConnector } from '../target-connector.ts'
import { awaitBoot, type BootWaitOptions } from './boot-proof.ts'
import { describeVm } from './describe-vm.ts'
import type { KvmHost, KvmVm } from './kvm-host.ts'
import { LocalVmHost } from './local-vm-host.ts'
import { openNewVm } from './new-vm.ts'
import { VmConfig } from './vm-config.ts'
import { VmMonitors } from './vm-monitors.ts'
import { type StartVmOptions, startVmProcess, stopVmProcess } from './vm-process.ts'

export interface KvmTargetOptions {
  readonly host: KvmHost
  /** Shared with the source connector of the same process; stays the caller's to dispose. One of its own unless given. */
  readonly monitors?: VmMonitors
  /** Probed unless given. */
  readonly accelerator?: StartVmOptions['accelerator']
}

/** Makes VMs on a plain-QEMU host. They get no network: a copy must not meet its original. */
export class KvmTargetConnector implements TargetConnector {
  readonly kind = 'kvm'
  readonly #host: KvmHost
  readonly #local: LocalVmHost
  readonly #monitors: VmMonitors
  readonly #ownsMonitors: boolean
  readonly #accelerator: KvmTargetOptions['accelerator']
  /** Creations under way in this process: `reconcile` leaves them alone. */
  readonly #open = new Set<string>()

  constructor(options: KvmTargetOptions) {
    this.#host = options.host
    this.#local = new LocalVmHost({ host: options.host })
    this.#monitors = options.monitors ?? new VmMonitors()
    this.#ownsMonitors = options.monitors === undefined
    this.#accelerator = options.accelerator
  }

  async createVm(request: NewVmRequest, { signal }: CallOptions): Promise<NewVm> {
    signal.throwIfAborted()
    const config = newConfig(request)
    const { creationId } = request
    if (this.#open.has(creationId)) throw exists(request.name)
    this.#open.add(creationId)
    const close = (): void => {
      this.#open.delete(creationId)
    }
    try {
      await this.#expectFree(request)
      return await openNewVm(
        { host: this.#host, creationId, config, disks: request.disks, onClosed: close },
        { signal },
      )
    } catch (error) {
      close()
      signal.throwIfAborted()
      throw fromCreation(error, request.name)
    }
  }

  async startVm(platformRef: string, options: BootWaitOptions): Promise<BootProof> {
    options.signal.throwIfAborted()
    const vm = await this.#host.get(platformRef)
    const accelerator = this.#accelerator === undefined ? {} : { accelerator: this.#accelerator }
    try {
      await startVmProcess(vm, { signal: options.signal, ...accelerator })
    } catch (error) {
      options.signal.throwIfAborted()
      throw new PlatformError('target.boot_failed', `${vm.config.name} could not be started: ${messageOf(error)}`, {
        cause: error,
        details: { platformRef },
      })
    }
    return await awaitBoot(vm, options)
  }

  async stopVm(platformRef: string, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    const vm = await this.#find(platformRef)
    if (vm !== undefined) await stopVmProcess(vm, { signal })
  }

  async deleteVm(platformRef: string, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    const vm = await this.#find(platformRef)
    if (vm === undefined) return
    if (vm.config.creationId === undefined) {
      throw new PlatformError('target.not_ours', `${vm.config.name} was not made by a restore`, {
        details: { platformRef },
      })
    }
    await stopVmProcess(vm, { signal })
    await rm(await this.#host.unpublish(vm), { recursive: true, force: true })
    await rm(vm.runtimeDir, { recursive: true, force: true })
  }

  async findCreated(creationId: string, { signal }: CallOptions): Promise<SourceVm | undefined> {
    signal.throwIfAborted()
    const found = (await this.#host.list()).find(({ config }) => config.creationId === creationId)
    const vm = found === undefined ? undefined : await this.#local.findVm(found.config.vmId, { signal })
    return vm === undefined ? undefined : await describeVm(this.#local, vm, { monitors: this.#monitors, signal })
  }

  async reconcile(keep: readonly string[], { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    for (const { creationId, dir } of await this.#host.drafts()) {
      if (keep.includes(creationId) || this.#open.has(creationId)) continue
      await rm(dir, { recursive: true, force: true })
    }
    for (const dir of await this.#host.unpublished()) await rm(dir, { recursive: true, force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ownsMonitors) await this.#monitors[Symbol.asyncDispose]()
  }

  async #find(platformRef: string): Promise<KvmVm | undefined> {
    return (await this.#host.list()).find(({ config }) => config.vmId === platformRef)
  }

  /** Refuses before anything is copied, not when it is done. */
  async #expectFree({ creationId, name }: NewVmRequest): Promise<void> {
    const listed = await this.#host.list()
    const drafts = await this.#host.drafts()
    const taken =
      (await this.#host.names()).includes(name) ||
      listed.some(({ config }) => config.creationId === creationId) ||
      drafts.some((draft) => draft.name === name && draft.creationId !== creationId)
    if (taken) throw exists(name)
  }
}

/** Checks what the caller asks for against what a plain-QEMU host can be. */
function newConfig(request: NewVmRequest): VmConfig {
  const { creationId, name, memoryBytes, cpuCount } = request
  const disks = request.disks.map(({ diskId }) => ({ diskId, file: `${diskId}.qcow2`, format: 'qcow2' }))
  const machine = { memoryBytes, cpuCount, disks, firmware: 'bios', network: 'none' }
  const config = VmConfig.safeParse({ version: 1, vmId: randomUUID(), name, ...machine, creationId })
  const odd = request.disks.find(({ sizeBytes }) => sizeBytes < 512 || sizeBytes % 512 !== 0)
  if (config.success && odd === undefined && VmName.safeParse(name).success) return config.data
  const issue = config.success ? `disk ${odd?.diskId} has ${odd?.sizeBytes} bytes` : config.error.issues[0]?.message
  throw new PlatformError('input.invalid', `a VM ${name} cannot be made here: ${issue}`, { details: { name } })
}

function fromCreation(error: unknown, name: string): unknown {
  if (error instanceof PlatformError) {
    if (!error.code.startsWith('qemu.')) return error
    const code = error.details['noSpace'] === true ? 'target.no_space' : 'target.create_failed'
    return new PlatformError(code, `the VM ${name} could not be made: ${error.message}`, { cause: error })
  }
  const noSpace = error instanceof Error && 'code' in error && error.code === 'ENOSPC'
  const code = noSpace ? 'target.no_space' : 'target.create_failed'
  return new PlatformError(code, `the VM ${name} could not be made: ${messageOf(error)}`, { cause: error })
}

function exists(name: string): PlatformError {
  return new PlatformError('target.vm_exists', `there is a VM ${name} already`, { details: { name } })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
