import type { PlatformKind } from '@sendense/shared/domain/platform.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { chooseMode } from '../choose-mode.ts'
import type {
  BackupRequest,
  FrozenDisk,
  SourceBackupSession,
  SourceConnector,
  SourceVm,
  TrackingToken,
} from '../source-connector.ts'
import { describeMemoryVm, type MemoryHypervisor, type MemoryVm, type MemoryVmDisk } from './memory-hypervisor.ts'

/** Prefix of checkpoints that this connector made. */
const OURS = 'sendense-'

export interface MemorySourceOptions {
  /** `kvm` unless given. */
  readonly kind?: PlatformKind
  readonly clock?: Clock
}

/** The smallest source connector: a session is a copy of each disk. */
export class MemorySourceConnector implements SourceConnector {
  readonly kind: PlatformKind
  readonly #hypervisor: MemoryHypervisor
  readonly #clock: Clock
  readonly #open = new Set<string>()

  constructor(hypervisor: MemoryHypervisor, options: MemorySourceOptions = {}) {
    this.kind = options.kind ?? 'kvm'
    this.#hypervisor = hypervisor
    this.#clock = options.clock ?? systemClock
  }

  async *listVms({ signal }: CallOptions): AsyncGenerator<SourceVm> {
    for (const vm of this.#hypervisor.list()) {
      signal.throwIfAborted()
      yield describeMemoryVm(vm)
    }
  }

  async getVm(platformRef: string, { signal }: CallOptions): Promise<SourceVm> {
    signal.throwIfAborted()
    return describeMemoryVm(this.#hypervisor.get(platformRef))
  }

  async openBackup(request: BackupRequest, { signal }: CallOptions): Promise<SourceBackupSession> {
    signal.throwIfAborted()
    const vm = this.#hypervisor.get(request.platformRef)
    if (vm.powerState !== 'running') {
      throw new PlatformError('source.vm_not_running', `VM ${vm.description.name} does not run`)
    }
    if (vm.sessions.size > 0) throw busy(vm)
    vm.sessions.add(request.sessionId)
    this.#open.add(request.platformRef)
    return new MemorySession(vm, request, {
      granularityBytes: this.#hypervisor.granularityBytes,
      takenAt: this.#clock.now(),
      onClose: () => this.#open.delete(request.platformRef),
    })
  }

  async clearSessions(platformRef: string, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    const vm = this.#hypervisor.find(platformRef)
    if (vm === undefined) return
    if (this.#open.has(platformRef)) throw busy(vm)
    vm.sessions.clear()
  }

  async reconcile(platformRef: string, keep: readonly TrackingToken[], options: CallOptions): Promise<void> {
    await this.clearSessions(platformRef, options)
    const vm = this.#hypervisor.find(platformRef)
    if (vm !== undefined) keepOnly(vm, keep)
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

interface SessionFacts {
  readonly granularityBytes: number
  readonly takenAt: Date
  readonly onClose: () => void
}

class MemorySession implements SourceBackupSession {
  readonly takenAt: Date
  readonly consistency: 'filesystem' | 'crash'
  readonly vm: SourceVm
  readonly disks: readonly FrozenDisk[]
  readonly lost: AbortSignal = new AbortController().signal
  readonly #vm: MemoryVm
  readonly #sessionId: string
  readonly #onClose: () => void
  #committed = false
  #closed = false

  constructor(vm: MemoryVm, request: BackupRequest, facts: SessionFacts) {
    this.takenAt = facts.takenAt
    this.consistency = request.quiesce && vm.description.guestAgent === true ? 'filesystem' : 'crash'
    this.vm = describeMemoryVm(vm)
    this.disks = [...vm.disks.values()].map((disk) => freeze(disk, request, facts.granularityBytes))
    this.#vm = vm
    this.#sessionId = request.sessionId
    this.#onClose = facts.onClose
  }

  async commit({ signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    this.#committed = true
    keepOnly(
      this.#vm,
      this.disks.flatMap(({ token }) => token ?? []),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#onClose()
    this.#vm.sessions.delete(this.#sessionId)
    if (this.#committed) return
    for (const disk of this.#vm.disks.values()) removeCheckpoint(disk, checkpointOf(this.#sessionId))
  }
}

function freeze(disk: MemoryVmDisk, request: BackupRequest, granularityBytes: number): FrozenDisk {
  const { diskId, content, changeTracking: tracks, checkpoints } = disk
  const { sizeBytes } = content
  const base = request.base.get(diskId)
  const since = base === undefined ? undefined : checkpoints.get(base.checkpoint)
  const checkpoint = since === undefined ? undefined : { granularityBytes: since.granularityBytes, intact: true }
  const { mode, reason } = chooseMode({ full: request.full, base, sizeBytes, tracks, checkpoint })
  const source = content.freeze(mode === 'incremental' ? since : undefined)
  if (!tracks) return { diskId, sizeBytes, mode, reason, source }
  const name = checkpointOf(request.sessionId)
  checkpoints.set(name, content.addTracker())
  return { diskId, sizeBytes, mode, reason, source, token: { diskId, sizeBytes, checkpoint: name, granularityBytes } }
}

/** Drops all checkpoints of ours but those named. */
function keepOnly(vm: MemoryVm, keep: readonly TrackingToken[]): void {
  for (const disk of vm.disks.values()) {
    const kept = new Set(keep.filter(({ diskId }) => diskId === disk.diskId).map(({ checkpoint }) => checkpoint))
    const doomed = [...disk.checkpoints.keys()].filter((name) => name.startsWith(OURS) && !kept.has(name))
    for (const name of doomed) removeCheckpoint(disk, name)
  }
}

function removeCheckpoint(disk: MemoryVmDisk, name: string): void {
  const tracker = disk.checkpoints.get(name)
  if (tracker !== undefined) disk.content.removeTracker(tracker)
  disk.checkpoints.delete(name)
}

function checkpointOf(sessionId: string): string {
  return `${OURS}${sessionId}`
}

function busy(vm: MemoryVm): PlatformError {
  return new PlatformError('source.busy', `another backup of ${vm.description.name} is open`, {
    details: { platformRef: vm.platformRef },
  })
}
