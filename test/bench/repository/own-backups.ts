import { randomUUID } from 'node:crypto'
import type { NbdEndpoint } from '@sendense/edge-agent/block/block-endpoint.ts'
import type { CallOptions } from '@sendense/edge-agent/block/block-source.ts'
import type { Mover } from '@sendense/edge-agent/mover/mover.ts'
import { openNbdSink } from '@sendense/edge-agent/nbd/client/nbd-sink.ts'
import { openNbdSource } from '@sendense/edge-agent/nbd/client/nbd-source.ts'
import { newBackupOf, sealFactsOf } from '@sendense/edge-agent/repository/repository-scenario.ts'
import type { Repository } from '@sendense/edge-agent/repository/repository.ts'
import type { BackupMode } from '@sendense/shared/domain/backup-reason.ts'

const DISK_ID = 'disk0'

/** Our backups of one disk as the product makes them: NBD source, mover, repository, sealed manifest. */
export class OwnBackups {
  readonly #repository: Repository
  readonly #mover: Mover
  readonly #vmId = randomUUID()
  #newest: string | undefined

  constructor(repository: Repository, mover: Mover) {
    this.#repository = repository
    this.#mover = mover
  }

  /** Full without an earlier one, `otherwise` on top of the newest. @returns bytes read from the source */
  async backUp(endpoint: NbdEndpoint, otherwise: BackupMode, call: CallOptions): Promise<number> {
    await using source = await openNbdSource(endpoint, call)
    const mode = this.#newest === undefined ? 'full' : otherwise
    const parent = mode === 'full' || this.#newest === undefined ? {} : { parentRestorePointId: this.#newest }
    const asked = newBackupOf({
      vmId: this.#vmId,
      ...parent,
      disks: [{ diskId: DISK_ID, sizeBytes: source.sizeBytes, mode, source }],
    })
    await using writer = await this.#repository.openBackup(asked, call)
    const disk = writer.disks.get(DISK_ID)
    if (disk === undefined) throw new Error('the writer has no such disk')
    const base = disk.base === undefined ? {} : { base: disk.base }
    const { sink, chunkIds } = disk
    const task = { mode, source, sink, chunkIds, idKey: this.#repository.idKey, ...base }
    const copied = await this.#mover.copyBackup(task, call)
    const facts = sealFactsOf(asked, { takenAt: new Date(), copied: new Map([[DISK_ID, copied]]) })
    const { manifest } = await writer.seal(facts, call)
    this.#newest = manifest.restorePointId
    return copied.readBytes
  }

  /** The newest one; without a target every chunk is only checked. */
  async restore(target: NbdEndpoint | undefined, call: CallOptions): Promise<void> {
    if (this.#newest === undefined) throw new Error('nothing was backed up')
    await using reader = await this.#repository.openRestorePoint(this.#newest, call)
    const disk = reader.disks.get(DISK_ID)
    if (disk === undefined) throw new Error('the restore point has no such disk')
    await using sink = target === undefined ? undefined : await openNbdSink(target, call)
    const into = sink === undefined ? {} : { sink }
    const { source, chunkIds } = disk
    await this.#mover.copyRestore({ source, ...into, chunkIds, idKey: this.#repository.idKey }, call)
  }
}
