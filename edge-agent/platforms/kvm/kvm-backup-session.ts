import type { ConsistencyLevel } from '@sendense/shared/domain/consistency.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { GuestIoCounters } from '../../mover/latency-guard.ts'
import type { FrozenDisk, SourceBackupSession, SourceVm } from '../source-connector.ts'
import { queryGuestIo } from './block-queries.ts'
import { clearRemains, removeBitmaps } from './clear-remains.ts'
import { type FleecingLimits, guardFleecing } from './fleecing-guard.ts'
import { fromQemu } from './kvm-errors.ts'
import { isOurs, type SessionNames } from './session-names.ts'
import type { SessionWatch } from './session-watch.ts'
import type { LocatedVm, ServiceAddress } from './vm-host.ts'
import type { MonitorLease } from './vm-monitors.ts'

const CLOSE_TIMEOUT_MS = 60_000

export interface OpenSession {
  readonly located: LocatedVm
  readonly lease: MonitorLease
  /** Where the export is reached; the session's from now on. */
  readonly nbd: ServiceAddress
  readonly names: SessionNames
  /** Watching since before the instant; the session's from now on. */
  readonly watch: SessionWatch
  readonly limits: FleecingLimits
  readonly takenAt: Date
  readonly consistency: ConsistencyLevel
  readonly vm: SourceVm
  readonly disks: readonly FrozenDisk[]
  /** Called once, when nothing of the session is left that another one could meet. */
  readonly onClosed: () => void
}

/**
 * The frozen disks of one VM, from the transaction to the clean-up. The old bitmaps go on recording all the time, so
 * giving up only removes what is new, and committing only removes what is old.
 */
export class KvmBackupSession implements SourceBackupSession {
  readonly takenAt: Date
  readonly consistency: ConsistencyLevel
  readonly vm: SourceVm
  readonly disks: readonly FrozenDisk[]
  readonly #parts: OpenSession
  readonly #guard: Disposable
  #committed = false
  #clearing = false
  #relieved: Promise<void> | undefined
  #closed: Promise<void> | undefined

  constructor(parts: OpenSession) {
    this.takenAt = parts.takenAt
    this.consistency = parts.consistency
    this.vm = parts.vm
    this.disks = parts.disks
    this.#parts = parts
    const { host, config } = parts.located
    const measure = async (options: CallOptions) => await host.measureSpace(config.vmId, options)
    this.#guard = guardFleecing({ measure, limits: parts.limits }, (error) => {
      if (!this.#clearing) parts.watch.lose(error)
      // The new bitmaps stay until the end: the manifest that names them may be sealed just now.
      this.#relieved = this.#clear(new Set([parts.names.frozenBitmap]))
    })
  }

  readonly guestIo = async (options: CallOptions): Promise<GuestIoCounters> => {
    return await queryGuestIo(this.#parts.lease.qmp, options)
  }

  get lost(): AbortSignal {
    return this.#parts.watch.lost
  }

  async commit({ signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    // From here on the new bitmaps are the base, whatever becomes of the old ones.
    this.#committed = true
    const kept = new Set([this.#parts.names.bitmap, this.#parts.names.frozenBitmap])
    try {
      await removeBitmaps(this.#parts.lease.qmp, this.#parts.located, {
        signal,
        doomed: (_diskId, bitmap) => isOurs(bitmap) && !kept.has(bitmap),
      })
    } catch (error) {
      throw fromQemu(error, `the old checkpoints of ${this.vm.name} could not be dropped`)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close()
    await this.#closed
  }

  async #close(): Promise<void> {
    this.#parts.watch[Symbol.dispose]()
    try {
      await Promise.allSettled(this.disks.map(async ({ source }) => await source[Symbol.asyncDispose]()))
      await this.#relieved
      const { bitmap, frozenBitmap } = this.#parts.names
      this.#clearing = true
      await this.#clear(new Set(this.#committed ? [frozenBitmap] : [frozenBitmap, bitmap]))
    } finally {
      // Not before: until the jobs are gone the guest goes on filling the overlays.
      this.#guard[Symbol.dispose]()
      // It may have been tripped meanwhile. What it clears must not be the next session.
      await Promise.allSettled([this.#relieved])
      await this.#parts.nbd[Symbol.asyncDispose]()
      await this.#parts.lease[Symbol.asyncDispose]()
      this.#parts.onClosed()
    }
  }

  /** Never rejects: what cannot be removed now, because QEMU is gone or stuck, `reconcile` removes later. */
  async #clear(bitmaps: ReadonlySet<string>): Promise<void> {
    const { located, lease } = this.#parts
    const options = { signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS) }
    try {
      const doomed = (_diskId: string, bitmap: string): boolean => bitmaps.has(bitmap)
      await clearRemains(lease.qmp, located, { ...options, doomed })
    } catch {
      await removeOverlaysOfStopped(located, options).catch(() => {})
    }
  }
}

async function removeOverlaysOfStopped({ host, config }: LocatedVm, options: CallOptions): Promise<void> {
  const vm = await host.findVm(config.vmId, options)
  if (vm?.running === false) await host.removeScratch(config.vmId, options)
}
