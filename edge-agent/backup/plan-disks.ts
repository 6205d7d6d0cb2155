import type { BackupMode, BackupReason } from '@sendense/shared/domain/backup-reason.ts'
import type { FrozenDisk } from '../platforms/source-connector.ts'
import type { BackupBase } from './choose-base.ts'

export interface PlannedDisk {
  readonly frozen: FrozenDisk
  readonly mode: BackupMode
  readonly reason: BackupReason
}

/**
 * How each disk is backed up: as its connector says, unless the repository cannot build on the parent.
 * Only a disk that the parent has, at the same size, can be incremental or compared.
 */
export function planDisks(disks: readonly FrozenDisk[], base: BackupBase): PlannedDisk[] {
  return disks.map((frozen) => {
    if (frozen.mode === 'full') {
      // Without a base the connector can only take it for the first one.
      const damaged = base.damaged !== undefined && frozen.reason === 'FULL_FIRST'
      return { frozen, mode: 'full', reason: damaged ? 'FULL_PARENT_DAMAGED' : frozen.reason }
    }
    if (base.chainFull) return { frozen, mode: 'full', reason: 'FULL_CHAIN_LIMIT' }
    const parent = base.parent?.manifest.disks.find((disk) => disk.diskId === frozen.diskId)
    if (parent === undefined) return { frozen, mode: 'full', reason: 'FULL_FIRST' }
    if (parent.sizeBytes !== frozen.sizeBytes) return { frozen, mode: 'full', reason: 'FULL_RESIZED' }
    const recovered = frozen.reason === 'INCREMENTAL' && base.parentAdopted
    return { frozen, mode: frozen.mode, reason: recovered ? 'RECOVERED' : frozen.reason }
  })
}
