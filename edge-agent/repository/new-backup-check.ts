import { DiskId } from '@sendense/shared/contracts/identifiers.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import type { NewBackup, NewBackupDisk } from './repository.ts'
import type { ManifestDisk, SealedManifest } from './restore-point-manifest.ts'

const SECTOR_BYTES = 512

/**
 * Whether a backup can be asked for at all: ids that are safe in paths, whole sectors, no disk twice.
 * @throws PlatformError `input.invalid`, or `repository.base_mismatch` where a parent is needed and not named
 */
export function checkNewBackup(backup: NewBackup): void {
  for (const [name, id] of [
    ['restorePointId', backup.restorePointId],
    ['vmId', backup.vmId],
  ] as const) {
    if (!z.uuid().safeParse(id).success) throw new PlatformError('input.invalid', `${name} ${id} is no UUID`)
  }
  const ids = new Set(backup.disks.map((disk) => disk.diskId))
  if (ids.size !== backup.disks.length || ids.size === 0) {
    throw new PlatformError('input.invalid', 'a backup names each of its disks once, and at least one')
  }
  for (const disk of backup.disks) checkDisk(disk, backup)
}

function checkDisk(disk: NewBackupDisk, backup: NewBackup): void {
  if (!DiskId.safeParse(disk.diskId).success) {
    throw new PlatformError('input.invalid', `${disk.diskId} is no disk id`)
  }
  if (!Number.isSafeInteger(disk.sizeBytes) || disk.sizeBytes <= 0 || disk.sizeBytes % SECTOR_BYTES !== 0) {
    const text = `disk ${disk.diskId} has ${disk.sizeBytes} bytes, which are no whole sectors of ${SECTOR_BYTES}`
    throw new PlatformError('input.invalid', text)
  }
  if (disk.mode !== 'full' && backup.parentRestorePointId === undefined) {
    throw new PlatformError('repository.base_mismatch', `disk ${disk.diskId} is ${disk.mode} but has no parent`)
  }
}

/**
 * The parent's disk that `disk` builds on.
 * @throws PlatformError `repository.base_mismatch` where it cannot be built on
 */
export function baseDiskOf(disk: NewBackupDisk, backup: NewBackup, parent: SealedManifest): ManifestDisk {
  const parentId = parent.manifest.restorePointId
  if (parent.manifest.vmId !== backup.vmId) {
    throw baseMismatch(`restore point ${parentId} is of VM ${parent.manifest.vmId}, not ${backup.vmId}`, parentId)
  }
  const base = parent.manifest.disks.find((candidate) => candidate.diskId === disk.diskId)
  if (base === undefined) throw baseMismatch(`restore point ${parentId} has no disk ${disk.diskId}`, parentId)
  if (base.sizeBytes !== disk.sizeBytes) {
    const text = `disk ${disk.diskId} has ${disk.sizeBytes} bytes now and ${base.sizeBytes} in restore point ${parentId}`
    throw baseMismatch(text, parentId)
  }
  return base
}

export function baseMismatch(message: string, parentRestorePointId: string): PlatformError {
  return new PlatformError('repository.base_mismatch', message, { details: { parentRestorePointId } })
}
