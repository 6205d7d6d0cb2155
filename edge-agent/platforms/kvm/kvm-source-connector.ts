import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type {
  BackupRequest,
  SourceBackupSession,
  SourceConnector,
  SourcePart,
  SourceVm,
  TrackingToken,
} from '../source-connector.ts'
import { isGuestAgentConnected } from './block-queries.ts'
import { clearRemains } from './clear-remains.ts'
import { describeVm } from './describe-vm.ts'
import { defaultFleecingLimits, type FleecingLimits } from './fleecing-guard.ts'
import { fromQemu } from './kvm-errors.ts'
import { openSession } from './open-session.ts'
import { isOurs } from './session-names.ts'
import { type HostedVm, type LocatedVm, platformRefOf, type VmHost, vmIdOn } from './vm-host.ts'
import { VmMonitors } from './vm-monitors.ts'

/** Of one backup whose way to its host was cut while its disks were being frozen. */
const OPENED_MAX = 3

export interface KvmSourceOptions {
  /** The hosts there are now; asked each time, for they come and go. */
  readonly hosts: () => readonly VmHost[]
  /** Shared with the target connector of the same process; stays the caller's to dispose. One of its own unless given. */
  readonly monitors?: VmMonitors
  readonly fleecing?: FleecingLimits
  readonly clock?: Clock
}

type DoomedBitmaps = (diskId: string, bitmap: string) => boolean
type FoundVm = HostedVm & LocatedVm

/** VMs of plain-QEMU hosts, backed up by QMP alone: fleecing, dirty bitmaps, NBD. `vm-host.ts` says what a VM's id is. */
export class KvmSourceConnector implements SourceConnector {
  readonly kind = 'kvm'
  readonly #hosts: () => readonly VmHost[]
  readonly #monitors: VmMonitors
  readonly #ownsMonitors: boolean
  readonly #limits: FleecingLimits
  readonly #clock: Clock
  /** VMs with a session that is open or being opened, closed or cleaned up. */
  readonly #busy = new Set<string>()
  /** VMs that are put in order because a listing found what a dead session left. */
  readonly #tidied = new Map<string, Promise<void>>()
  readonly #over = new AbortController()

  constructor(options: KvmSourceOptions) {
    this.#hosts = options.hosts
    this.#monitors = options.monitors ?? new VmMonitors()
    this.#ownsMonitors = options.monitors === undefined
    this.#limits = options.fleecing ?? defaultFleecingLimits
    this.#clock = options.clock ?? systemClock
  }

  /** Leaves out a VM whose disks cannot be read, or that has just gone; `getVm` says what is wrong with it. */
  async *listVms(options: CallOptions): AsyncGenerator<SourceVm> {
    for (const host of this.#hosts()) yield* this.#listHost(host, options)
  }

  parts(): SourcePart[] {
    return this.#hosts().map((host) => ({
      name: host.name,
      owns: (platformRef) => vmIdOn(host, platformRef) !== undefined,
      listVms: (options) => this.#listHost(host, options),
    }))
  }

  async getVm(platformRef: string, { signal }: CallOptions): Promise<SourceVm> {
    signal.throwIfAborted()
    const vm = await this.#get(platformRef, { signal })
    return await describeVm(vm.host, vm, { monitors: this.#monitors, signal })
  }

  async openBackup(request: BackupRequest, { signal }: CallOptions): Promise<SourceBackupSession> {
    signal.throwIfAborted()
    if (!/^[0-9a-f-]{1,64}$/.test(request.sessionId)) {
      throw new PlatformError('input.invalid', `${request.sessionId} cannot name a session`)
    }
    const vm = await this.#get(request.platformRef, { signal })
    const release = await this.#reserve(vm)
    try {
      return await this.#open(vm, request, { signal, onClosed: release })
    } catch (error) {
      release()
      signal.throwIfAborted()
      throw fromQemu(error, `the disks of ${vm.config.name} could not be frozen`)
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
    this.#over.abort(new Error('the connector is closed'))
    await Promise.allSettled(this.#tidied.values())
    if (this.#ownsMonitors) await this.#monitors[Symbol.asyncDispose]()
  }

  async *#listHost(host: VmHost, { signal }: CallOptions): AsyncGenerator<SourceVm> {
    for (const hosted of await host.listVms({ signal })) {
      signal.throwIfAborted()
      const found = { ...hosted, host }
      if (hosted.scratchFiles.length > 0) this.#tidy(found)
      const vm = await this.#describeReadable(found, { signal })
      if (vm !== undefined) yield vm
    }
  }

  async #describeReadable(vm: FoundVm, { signal }: CallOptions): Promise<SourceVm | undefined> {
    try {
      return await describeVm(vm.host, vm, { monitors: this.#monitors, signal })
    } catch (error) {
      if (isPlatformError(error, 'source.disk_unsupported') || isPlatformError(error, 'source.vm_not_found')) {
        return undefined
      }
      throw error
    }
  }

  /** A way that is cut while the disks are frozen leaves nothing behind, and the disks are frozen again. */
  async #open(
    vm: FoundVm,
    request: BackupRequest,
    { signal, onClosed }: CallOptions & { readonly onClosed: () => void },
  ): Promise<SourceBackupSession> {
    expectRunning(vm)
    const { host } = vm
    const described = await describeVm(host, vm, { monitors: this.#monitors, signal })
    for (let attempt = 1; ; attempt += 1) {
      const lease = await this.#monitors.acquire(vm, { signal })
      try {
        const parts = { located: vm, vm: described, lease, request, onClosed, clock: this.#clock, limits: this.#limits }
        return await openSession(parts, { signal })
      } catch (error) {
        await lease[Symbol.asyncDispose]()
        const cut = isPlatformError(error, 'qemu.disconnected') || isPlatformError(error, 'source.unreachable')
        if (!cut || host.patienceMs === 0 || attempt === OPENED_MAX || signal.aborted) throw error
      }
    }
  }

  async #clean(platformRef: string, doomed: DoomedBitmaps, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    const vm = await this.#find(platformRef, { signal })
    if (vm === undefined) return
    const release = await this.#reserve(vm)
    try {
      await this.#cleanVm(vm, doomed, { signal })
    } catch (error) {
      throw fromQemu(error, `what dead backups of ${vm.config.name} left could not be removed`)
    } finally {
      release()
    }
  }

  async #cleanVm(vm: FoundVm, doomed: DoomedBitmaps, options: CallOptions): Promise<void> {
    const { host, config, running } = vm
    if (!running) {
      await host.removeScratch(config.vmId, options)
      return
    }
    await using lease = await this.#monitors.acquire(vm, options)
    if (await isGuestAgentConnected(lease.qmp, options)) {
      // An agent that does not answer cannot thaw, and must not keep the rest from being cleaned up.
      await host.thawGuest(config.vmId, { attemptsMax: 1 }).catch(() => {})
    }
    await clearRemains(lease.qmp, vm, { ...options, doomed })
  }

  /** What a dead session left is cleared as soon as it is seen; where that fails, the next listing sees it again. */
  #tidy(vm: FoundVm): void {
    const key = platformRefOf(vm)
    if (this.#busy.has(key) || this.#tidied.has(key) || this.#over.signal.aborted) return
    const work = this.#cleanVm(vm, () => false, { signal: this.#over.signal })
    const done = work.catch(() => {}).finally(() => this.#tidied.delete(key))
    this.#tidied.set(key, done)
  }

  async #find(platformRef: string, options: CallOptions): Promise<FoundVm | undefined> {
    for (const host of this.#hosts()) {
      const vmId = vmIdOn(host, platformRef)
      const vm = vmId === undefined ? undefined : await host.findVm(vmId, options)
      if (vm !== undefined) return { ...vm, host }
    }
    return undefined
  }

  async #get(platformRef: string, options: CallOptions): Promise<FoundVm> {
    const vm = await this.#find(platformRef, options)
    if (vm !== undefined) return vm
    throw new PlatformError('source.vm_not_found', `there is no VM ${platformRef} on any host`, {
      details: { platformRef },
    })
  }

  async #reserve(vm: LocatedVm): Promise<() => void> {
    const key = platformRefOf(vm)
    await this.#tidied.get(key)
    if (this.#busy.has(key)) {
      throw new PlatformError('source.busy', `another backup of ${vm.config.name} is open`, {
        details: { platformRef: key },
      })
    }
    this.#busy.add(key)
    return () => this.#busy.delete(key)
  }
}

function expectRunning(vm: FoundVm): void {
  if (vm.running) return
  throw new PlatformError('source.vm_not_running', `VM ${vm.config.name} does not run`, {
    details: { platformRef: platformRefOf(vm) },
  })
}
