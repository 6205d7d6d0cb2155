import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createMemoryDisk } from '../../../block/memory-disk.ts'
import { backUp, copyInto, newBackupOf, restoreAll, sealFactsOf } from '../../repository-scenario.ts'
import type { Repository } from '../../repository.ts'
import type { SealedManifest } from '../../restore-point-manifest.ts'
import { call, sameBytes } from '../../scenario-guest.ts'

/** Bytes of each disk. No multiple of any chunk size, but of a sector. */
export const DISKS: Readonly<Record<string, number>> = { disk0: 1024 * 1024 + 3 * 512, disk1: 640 * 1024 + 512 }
const FIRST_BACKUP_MS = 1_700_000_000_000

/** A VM of two disks, its backups, and what each of them must restore to. */
export class CopiedVm {
  readonly vmId = randomUUID()
  /** By restore point and disk. */
  readonly models = new Map<string, ReadonlyMap<string, Uint8Array>>()
  readonly #disks = new Map(Object.entries(DISKS).map(([diskId, bytes]) => [diskId, new Uint8Array(bytes)]))
  #parent: string | undefined
  #backups = 0

  /** Writes `byte`; what leaves the disk is left out. */
  fill(diskId: string, offsetBytes: number, lengthBytes: number, byte: number): void {
    const disk = this.#disks.get(diskId)
    assert(disk !== undefined)
    disk.fill(byte, offsetBytes, offsetBytes + lengthBytes)
  }

  /** A backup of the disks as they are now, on the one before where that is there still. */
  async backUp(repository: Repository, { full = false }: { readonly full?: boolean } = {}): Promise<SealedManifest> {
    const parentRestorePointId = full ? undefined : await this.#findParent(repository)
    const mode = parentRestorePointId === undefined ? 'full' : 'compare'
    this.#backups += 1
    const sealed = await backUp(
      repository,
      {
        vmId: this.vmId,
        takenAt: new Date(FIRST_BACKUP_MS + this.#backups * 60_000),
        ...(parentRestorePointId === undefined ? {} : { parentRestorePointId }),
        disks: [...this.#disks].map(([diskId, content]) => {
          return {
            diskId,
            sizeBytes: content.length,
            mode,
            source: createMemoryDisk({ sizeBytes: content.length, content }),
          }
        }),
      },
      call(),
    )
    this.#note(sealed)
    return sealed
  }

  /** The same, of a platform that tracks changes. */
  async backUpTracked(repository: Repository): Promise<SealedManifest> {
    const disks = [...this.#disks].map(([diskId, content]) => {
      const source = createMemoryDisk({ sizeBytes: content.length, content })
      return { diskId, sizeBytes: content.length, mode: 'full', source } as const
    })
    this.#backups += 1
    const takenAt = new Date(FIRST_BACKUP_MS + this.#backups * 60_000)
    const backup = { vmId: this.vmId, takenAt, disks }
    const asked = newBackupOf(backup)
    await using writer = await repository.openBackup(asked, call())
    const copied = await copyInto(repository, writer, backup, call())
    const facts = sealFactsOf(asked, { takenAt, copied })
    const tracking = { checkpoint: 'checkpoint-1', granularityBytes: 65_536 }
    const sealed = await writer.seal({ ...facts, disks: facts.disks.map((disk) => ({ ...disk, tracking })) }, call())
    this.#note(sealed)
    return sealed
  }

  /** Whether the restore point restores in that repository, byte for byte, every chunk checked. */
  async restoresFrom(repository: Repository, restorePointId: string): Promise<boolean> {
    const model = this.models.get(restorePointId)
    assert(model !== undefined)
    const restored = await restoreAll(repository, restorePointId, call())
    return restored.size === model.size && [...model].every(([diskId, bytes]) => sameBytes(restored.get(diskId), bytes))
  }

  async #findParent(repository: Repository): Promise<string | undefined> {
    const points = await Array.fromAsync(repository.listRestorePoints({ vmId: this.vmId }, call()))
    const parent = points.find(({ manifest }) => manifest.restorePointId === this.#parent)?.manifest.restorePointId
    return parent === undefined || (await repository.isChainFull(parent, call())) ? undefined : parent
  }

  #note({ manifest }: SealedManifest): void {
    this.#parent = manifest.restorePointId
    this.models.set(
      manifest.restorePointId,
      new Map([...this.#disks].map(([diskId, bytes]) => [diskId, bytes.slice()])),
    )
  }
}
