import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { ArchivedDisk, ArchivedPoint } from './archive.ts'

/** The disks of these ids, or all. @throws PlatformError `input.invalid` for one that is not there */
export function chooseDisks({ disks, sealed }: ArchivedPoint, diskIds: readonly string[] | undefined): ArchivedDisk[] {
  for (const diskId of diskIds ?? []) {
    if (disks.has(diskId)) continue
    const text = `restore point ${sealed.manifest.restorePointId} has no disk ${diskId}, it has ${[...disks.keys()].join(', ')}`
    throw new PlatformError('input.invalid', text)
  }
  return [...disks.values()].filter(({ diskId }) => diskIds?.includes(diskId) ?? true)
}
