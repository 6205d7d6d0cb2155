import { isPlatformError, type PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { Repository } from '../repository.ts'
import type { SealedManifest } from '../restore-point-manifest.ts'

export interface ListedPoints {
  /** Oldest first. */
  readonly points: readonly SealedManifest[]
  /** What the list said of those that cannot be trusted. Absent: there are none. */
  readonly damage?: PlatformError
}

/** All that can be trusted of one VM's restore points. Rejects as `Repository.listRestorePoints`, but for damaged manifests. */
export async function listPoints(repository: Repository, vmId: string, { signal }: CallOptions): Promise<ListedPoints> {
  const points: SealedManifest[] = []
  try {
    for await (const sealed of repository.listRestorePoints({ vmId }, { signal })) points.push(sealed)
    return { points }
  } catch (error) {
    if (!isPlatformError(error, 'repository.manifest_invalid')) throw error
    return { points, damage: error }
  }
}
