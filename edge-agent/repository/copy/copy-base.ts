import type { BackupMode, BackupReason } from '@sendense/shared/domain/backup-reason.ts'
import type { ManifestDisk, SealedManifest } from '../restore-point-manifest.ts'
import { isSameRestorePoint } from './restore-point-origin.ts'

/** What a copy builds on. */
export interface CopyBase {
  /** In the target. */
  readonly parent: SealedManifest
  /** The same restore point in the source. Absent: it is not there any more, and what differs has to be found. */
  readonly inSource?: SealedManifest
}

export interface PlannedCopyDisk {
  readonly diskId: string
  readonly sizeBytes: number
  readonly mode: BackupMode
  readonly reason: BackupReason
}

/**
 * The newest restore point before `wanted` that source and target both have; where there is none, the newest before it in
 * the target. Points that have no disk in common with `wanted` are none to build on.
 * @param inSource restore points of the VM of `wanted` in the source
 * @param inTarget likewise in the target
 */
export function chooseCopyBase(
  wanted: SealedManifest,
  inSource: readonly SealedManifest[],
  inTarget: readonly SealedManifest[],
): CopyBase | undefined {
  const before = inTarget
    .filter(({ manifest }) => manifest.takenAt < wanted.manifest.takenAt)
    .filter((point) => wanted.manifest.disks.some((disk) => findSameDisk(disk, point) !== undefined))
    .toSorted((left, right) => (left.manifest.takenAt > right.manifest.takenAt ? -1 : 1))
  for (const parent of before) {
    const same = inSource.find((point) => isSameRestorePoint(point, parent))
    if (same !== undefined) return { parent, inSource: same }
  }
  const [parent] = before
  return parent === undefined ? undefined : { parent }
}

/** How each disk is copied. */
export function planCopyDisks(wanted: SealedManifest, base: CopyBase | undefined): PlannedCopyDisk[] {
  return wanted.manifest.disks.map((disk) => {
    const { diskId, sizeBytes } = disk
    if (base === undefined || findSameDisk(disk, base.parent) === undefined) {
      return { diskId, sizeBytes, mode: 'full', reason: 'FULL_COPY' }
    }
    const old = base.inSource === undefined ? undefined : findSameDisk(disk, base.inSource)
    // Ids can be compared only where they are of the same ranges.
    if (old?.chunkSizeBytes !== disk.chunkSizeBytes) {
      return { diskId, sizeBytes, mode: 'compare', reason: 'COMPARE_COPY' }
    }
    return { diskId, sizeBytes, mode: 'incremental', reason: 'INCREMENTAL_COPY' }
  })
}

function findSameDisk(disk: ManifestDisk, { manifest }: SealedManifest): ManifestDisk | undefined {
  return manifest.disks.find(({ diskId, sizeBytes }) => diskId === disk.diskId && sizeBytes === disk.sizeBytes)
}
