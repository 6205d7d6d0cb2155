import { decideRetention, type RetentionDecision, type RetentionPolicy } from '@sendense/shared/domain/retention.ts'
import { isPlatformError, type PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { RestorePointRecord } from '../catalog/restore-point-store.ts'
import { adoptRestorePoints } from './adopt-restore-points.ts'
import { type DeletionParts, deleteRestorePoint } from './delete-restore-point.ts'

const POINTS_MAX = 100_000

export interface PruneWish {
  readonly policy: RetentionPolicy
  /** Absent: all that have restore points in the repository. */
  readonly vmId?: string | undefined
}

/** What a policy means for one VM. */
export interface VmPruning {
  readonly vmId: string
  readonly vmName: string
  /** Newest first. */
  readonly decisions: readonly RetentionDecision[]
  /** Ids that are gone; none in a preview. */
  readonly deleted: readonly string[]
  /** Why the rest of what should go stays for now. */
  readonly failed?: PlatformError
}

/** What `pruneRestorePoints` would do now. Rejects with the signal's reason, `repository.*` of the repository as a whole. */
export async function previewPruning(
  parts: DeletionParts,
  { policy, vmId: wanted }: PruneWish,
  options: CallOptions,
): Promise<VmPruning[]> {
  const { catalogue, repository } = parts
  await repository.getCapacity(options)
  const filter = wanted === undefined ? {} : { vmId: wanted }
  const all = await catalogue.transaction(
    async (tx) => await tx.restorePoints.list({ ...filter, repositoryId: repository.repositoryId, limit: POINTS_MAX }),
    options,
  )
  const now = parts.clock.now()
  return [...Map.groupBy(all, ({ vmId }) => vmId)].map(([vmId, points]) => {
    const decisions = decideRetention(points.map(toRetentionPoint), policy, now)
    return { vmId, vmName: points[0]?.vmName ?? vmId, decisions, deleted: [] }
  })
}

/**
 * Deletes what the policy does not keep, oldest first, VM by VM. Points that are in the repository and not in the
 * catalogue are counted too. A VM of which a manifest cannot be read loses nothing; one that is being backed up, or
 * whose deletion fails, keeps the rest for the next time, and no other VM minds.
 * Rejects as `previewPruning`.
 */
export async function pruneRestorePoints(
  parts: DeletionParts,
  wish: PruneWish,
  options: CallOptions & { readonly onDeleted?: (restorePointId: string) => void },
): Promise<VmPruning[]> {
  const vms = await previewPruning(parts, wish, options)
  const pruned: VmPruning[] = []
  for (const { vmId } of vms) pruned.push(...(await pruneVm(parts, { ...wish, vmId }, options)))
  return pruned
}

async function pruneVm(
  parts: DeletionParts,
  wish: PruneWish & { readonly vmId: string },
  { signal, onDeleted }: CallOptions & { readonly onDeleted?: (restorePointId: string) => void },
): Promise<VmPruning[]> {
  const deleted: string[] = []
  let planned: VmPruning[] = await previewPruning(parts, wish, { signal })
  try {
    // A list that ends with a damaged manifest rejects: then nothing of this VM is deleted.
    await adoptRestorePoints({ ...parts, vmId: wish.vmId, signal })
    planned = await previewPruning(parts, wish, { signal })
    for (const { point } of planned
      .flatMap(({ decisions }) => decisions)
      .filter(({ keep }) => !keep)
      .toReversed()) {
      await deleteRestorePoint(parts, point.restorePointId, { signal })
      deleted.push(point.restorePointId)
      onDeleted?.(point.restorePointId)
    }
    return planned.map((vm) => ({ ...vm, deleted }))
  } catch (error) {
    signal.throwIfAborted()
    if (!isPlatformError(error)) throw error
    return planned.map((vm) => ({ ...vm, deleted, failed: error }))
  }
}

function toRetentionPoint({ restorePointId, takenAt, verification, hold }: RestorePointRecord) {
  return { restorePointId, takenAt: new Date(takenAt), verified: verification?.outcome === 'passed', hold }
}
