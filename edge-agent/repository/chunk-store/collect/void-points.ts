import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions, ObjectStore } from '../../../object-store/object-store.ts'
import { manifestKey, packKey } from '../format/object-keys.ts'
import type { MarkedPoint } from './mark-references.ts'
import type { SurveyedSession } from './session-survey.ts'

export interface VoidPointOptions extends CallOptions {
  readonly store: ObjectStore
  readonly watched: readonly MarkedPoint[]
  readonly sessions: readonly SurveyedSession[]
  /** Ids of packs that were listed. */
  readonly isListed: (packId: string) => boolean
}

/**
 * Restore points that do not exist although their manifests do: their writers sealed them after they had been shut out, and
 * something they need is gone. What is whole stays, whoever sealed it.
 * Rejects with `repository.object_corrupt` for one that was sealed in time and has no pack set.
 */
export async function findVoidPoints({ store, watched, sessions, isListed, signal }: VoidPointOptions) {
  const voids: MarkedPoint[] = []
  for (const point of watched) {
    const fence = sessions.find((one) => one.fence?.content.restorePointId === point.restorePointId)?.fence
    const isLate = fence !== undefined && point.putMs > fence.putMs
    if (point.packs === undefined) {
      if (!isLate) throw withoutSet(point)
      voids.push(point)
      continue
    }
    if (!isLate) continue
    for (const pack of point.packs) {
      if (isListed(pack.packId) || (await store.find(packKey(pack), { signal })) !== undefined) continue
      voids.push(point)
      break
    }
  }
  return voids
}

function withoutSet(point: MarkedPoint): PlatformError {
  const objectKey = manifestKey(point)
  const text = `${objectKey}: the restore point has no pack set`
  return new PlatformError('repository.object_corrupt', text, { details: { objectKey } })
}
