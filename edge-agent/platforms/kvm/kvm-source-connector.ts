import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type {
  BackupRequest,
  SourceBackupSession,
  SourceConnector,
  SourceVm,
  TrackingToken,
} from '../source-connector.ts'
import { isGuestAgentConnected } from './block-queries.ts'
import { clearRemains, removeScratchFiles } from './clear-remains.ts'
import { describeVm } from './describe-vm.ts'
import { defaultFleecingLimits, type FleecingLimits } from './fleecing-guard.ts'
import { thawGuest } from './guest-freeze.ts'
import { fromQemu } from './kvm-errors.ts'
import type { KvmHost, KvmVm } from './kvm-host.ts'
import { openSession } from './open-session.ts'
import { isOurs } from './session-names.ts'
import { VmMonitors } from './vm-monitors.ts'
import { findVmProcess } from './vm-process.ts'

export interface KvmSourceOptions {
  readonly host: KvmHost
  /** Shared with the target connector of the same process; stays the caller's to dispose. One of its own unless given. */
  readonly monitors?: VmMonitors
  readonly fleecing?: FleecingLimits
  readonly clock?: Clock
}

type DoomedBitmaps = (diskId: string, bitmap: string) => boolean

/** VMs of a plain-QEMU host, backed up by QMP alone: fleecing, dirty bitmaps, NBD. A VM's id is its `vmId`. */
export class KvmSourceConnector implements SourceConnector {
  readonly kind = 'kvm'
  readonly #host: KvmHost
  readonly #monitors: VmMonitors
  readonly #ownsMonitors: boolean
  readonly #limits: FleecingLimits
  readonly #clock: Clock
  /** VMs with a session that is open or being opened, closed or cleaned up. */
  readonly #busy = new Set<string>()

  constructor(options: KvmSourceOptions) {
    this.#host = options.host
    this.#monitors = options.monitors ?? new VmMonitors()
    this.#ownsMonitors = options.monitors === undefined
    this.#limits = options.fleecing ?? defaultFleecingLimits
    this.#clock = options.clock ?? systemClock
  }

  /** Leaves out a VM whose disks cannot be read, or that has just gone; `getVm` says what is wrong with it. */
  async *listVms({ signal }: CallOptions): AsyncGenerator<SourceVm> {
    for (const host of await this.#host.list()) {
      signal.throwIfAborted()
      const vm = await this.#describeReadable(host, { signal })
      if (vm !== undefined) yield vm
    }
  }

  async getVm(platformRef: string, { signal }: CallOptions): Promise<SourceVm> {
    signal.throwIfAborted()
    return await describeVm(await this.#host.get(platformRef), this.#monitors, { signal })
  }

  async openBackup(request: BackupRequest, { signal }: CallOptions): Promise<SourceBackupSession> {
    signal.throwIfAborted()
    if (!/^[0-9a-f-]{1,64}$/.test(request.sessionId)) {
      throw new PlatformError('input.invalid', `${request.sessionId} cannot name a session`)
    }
    const host = await this.#host.get(request.platformRef)
    const release = this.#reserve(host)
    try {
      await expectRunning(host)
      const vm = await describeVm(host, this.#monitors, { signal })
      const lease = await this.#monitors.acquire(host, { signal })
      try {
        const parts = { host, vm, lease, request, clock: this.#clock, limits: this.#limits, onClosed: release }
        return await openSession(parts, { signal })
      } catch (error) {
        await lease[Symbol.asyncDispose]()
        throw error
      }
    } catch (error) {
      release()
      signal.throwIfAborted()
      throw fromQemu(error, `the disks of ${host.config.name} could not be frozen`)
    }
  }

  async clearSessions(platformRef: string, options: CallOptions): Promise<void> {
    await this.#clean(platformRef, () => false, options)
  }

  async reconcile(platformRef: string, keep: readonly TrackingToken[], options: CallOptions): Promise<void> {
    const kept = new Set(keep.map(({ diskId, checkpoint }) => `${diskId}/${checkpoint}`))
    await this.#clean(platformRef, (diskId, bitmap) => isOurs(bitmap) && !kept.has(`${diskId}/${bitmap}`), options)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ownsMonitors) await this.#monitors[Symbol.asyncDispose]()
  }

  async #describeReadable(host: KvmVm, options: CallOptions): Promise<SourceVm | undefined> {
    try {
      return await describeVm(host, this.#monitors, options)
    } catch (error) {
      if (isPlatformError(error, 'source.disk_unsupported')) return undefined
      throw error
    }
  }

  async #clean(platformRef: string, doomed: DoomedBitmaps, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    const host = (await this.#host.list()).find(({ config }) => config.vmId === platformRef)
    if (host === undefined) return
    const release = this.#reserve(host)
    try {
      await this.#cleanVm(host, doomed, { signal })
    } catch (error) {
      throw fromQemu(error, `what dead backups of ${host.config.name} left could not be removed`)
    } finally {
      release()
    }
  }

  async #cleanVm(host: KvmVm, doomed: DoomedBitmaps, options: CallOptions): Promise<void> {
    if ((await findVmProcess(host)) === undefined) {
      await removeScratchFiles(host)
      return
    }
    await using lease = await this.#monitors.acquire(host, options)
    if (await isGuestAgentConnected(lease.qmp, options)) {
      // An agent that does not answer cannot thaw, and must not keep the rest from being cleaned up.
      await thawGuest(host.guestAgentSocket, 1).catch(() => {})
    }
    await clearRemains(lease.qmp, host, { ...options, doomed })
  }

  #reserve(vm: KvmVm): () => void {
    const { vmId, name } = vm.config
    if (this.#busy.has(vmId)) {
      throw new PlatformError('source.busy', `another backup of ${name} is open`, { details: { platformRef: vmId } })
    }
    this.#busy.add(vmId)
    return () => this.#busy.delete(vmId)
  }
}

async function expectRunning(vm: KvmVm): Promise<void> {
  if ((await findVmProcess(vm)) !== undefined) return
  throw new PlatformError('source.vm_not_running', `VM ${vm.config.name} does not run`, {
    details: { platformRef: vm.config.vmId },
  })
}
