import { randomUUID } from 'node:crypto'
import type { BlockSource, CallOptions } from '../block/block-source.ts'
import { createMemoryDisk, type MemoryDisk } from '../block/memory-disk.ts'
import { backUp, type ScenarioBackup } from './repository-scenario.ts'
import type { Repository } from './repository.ts'
import type { SealedManifest } from './restore-point-manifest.ts'

const DEADLINE_MS = 60_000
/** With a short last chunk, for chunks of 64 KiB and of 256 KiB. */
export const DISK_BYTES = 1024 * 1024 + 3 * 512
export const UNIT_BYTES = 64 * 1024

export interface RepositoryFixture extends AsyncDisposable {
  /** Empty at first. */
  readonly repository: Repository
  /** The repository as another process finds it afterwards. The old object is not used any more. */
  reopen(): Promise<Repository>
}

/** A VM of one disk that changes between its backups. */
export class Guest {
  readonly vmId = randomUUID()
  readonly disk: MemoryDisk = createMemoryDisk({ sizeBytes: DISK_BYTES, granularityBytes: UNIT_BYTES })
  #changes = this.disk.addTracker()
  /** What the next backup builds on; undefined: nothing. */
  parent: string | undefined
  #backups = 0

  /** Writes `byte` from a unit on. */
  async fill(unit: number, byte: number, lengthBytes = UNIT_BYTES): Promise<void> {
    await this.disk.write(unit * UNIT_BYTES, new Uint8Array(lengthBytes).fill(byte), call())
  }

  async zero(unit: number, lengthBytes = UNIT_BYTES): Promise<void> {
    await this.disk.writeZeroes(unit * UNIT_BYTES, lengthBytes, call())
  }

  /** The next backup of the disk as it is now. */
  next(mode: 'full' | 'incremental' | 'compare'): ScenarioBackup {
    const source: BlockSource = this.disk.freeze(mode === 'incremental' ? this.#changes : undefined)
    const disk = { diskId: 'disk0', sizeBytes: DISK_BYTES, mode, source }
    const takenAt = new Date(Date.now() + this.#backups)
    if (mode === 'full' || this.parent === undefined) return { vmId: this.vmId, takenAt, disks: [disk] }
    return { vmId: this.vmId, parentRestorePointId: this.parent, takenAt, disks: [disk] }
  }

  /** Full at first, then incremental, unless asked for otherwise; seals it and makes it the next one's parent. */
  async backUp(
    repository: Repository,
    mode: 'full' | 'incremental' | 'compare' = this.parent === undefined ? 'full' : 'incremental',
    others: ScenarioBackup['disks'] = [],
  ): Promise<SealedManifest> {
    const backup = this.next(mode)
    const sealed = await backUp(repository, { ...backup, disks: [...backup.disks, ...others] }, call())
    this.disk.removeTracker(this.#changes)
    this.#changes = this.disk.addTracker()
    this.parent = sealed.manifest.restorePointId
    this.#backups += 1
    return sealed
  }
}

export function sameBytes(left: Uint8Array | undefined, right: Uint8Array): boolean {
  return left !== undefined && Buffer.compare(left, right) === 0
}

export function call(): CallOptions {
  return { signal: AbortSignal.timeout(DEADLINE_MS) }
}
