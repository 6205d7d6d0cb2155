import type { RestorePointOrigin, SealedManifest } from '../restore-point-manifest.ts'

/** What a backup sealed: of a copy what it says, of anything else the restore point itself. */
export function originOf({ manifest, manifestHash }: SealedManifest): RestorePointOrigin {
  const { repositoryId, restorePointId } = manifest
  return manifest.origin ?? { repositoryId, restorePointId, manifestHash }
}

/** Whether both are copies of one restore point, or one of them is the restore point itself: their disks read the same. */
export function isSameRestorePoint(one: SealedManifest, other: SealedManifest): boolean {
  const [left, right] = [originOf(one), originOf(other)]
  return (
    left.repositoryId === right.repositoryId &&
    left.restorePointId === right.restorePointId &&
    left.manifestHash === right.manifestHash
  )
}
