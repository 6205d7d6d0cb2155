import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { SealedManifest } from '../repository/restore-point-manifest.ts'
import type { FoundPoint } from './archive.ts'

const ID_START = /^[0-9a-f][0-9a-f-]{7,35}$/

/**
 * The restore point that somebody means: its id, the beginning of it from 8 characters on, or the name or id of a VM, which
 * means its newest. A point whose manifest cannot be believed is never taken for another.
 * @throws PlatformError `repository.restore_point_not_found`, `input.invalid` where several are meant,
 *   `repository.manifest_invalid` for one that cannot be believed
 */
export function findPoint(points: readonly FoundPoint[], meant: string): SealedManifest {
  const byId = points.filter(({ restorePointId }) => isMeantById(restorePointId, meant))
  if (byId.length > 1) {
    throw new PlatformError(
      'input.invalid',
      `${meant} is the beginning of ${byId.length} restore points: write more of it`,
    )
  }
  const found = byId[0] ?? newestOf(points, meant)
  if (found === undefined) {
    const text = `there is no restore point ${meant}, and no VM of that name: list shows what there is`
    throw new PlatformError('repository.restore_point_not_found', text)
  }
  if (found.manifest instanceof PlatformError) throw found.manifest
  return found.manifest
}

function isMeantById(restorePointId: string, meant: string): boolean {
  return restorePointId === meant || (ID_START.test(meant) && restorePointId.startsWith(meant))
}

/** Points come oldest first. Two VMs of one name are not guessed between. */
function newestOf(points: readonly FoundPoint[], meant: string): FoundPoint | undefined {
  const vmIds = new Set(points.filter((point) => vmNameOf(point) === meant).map(({ vmId }) => vmId))
  if (vmIds.size > 1) {
    throw new PlatformError(
      'input.invalid',
      `${vmIds.size} VMs have the name ${meant}: name one by its id: ${[...vmIds].join(', ')}`,
    )
  }
  const [vmId = meant] = vmIds
  return points.findLast((point) => point.vmId === vmId)
}

function vmNameOf({ manifest }: FoundPoint): string | undefined {
  return manifest instanceof PlatformError ? undefined : manifest.manifest.vmName
}
