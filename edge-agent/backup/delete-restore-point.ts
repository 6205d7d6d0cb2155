import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { Catalogue, CatalogueTransaction } from '../catalog/catalogue.ts'
import type { RestorePointRecord } from '../catalog/restore-point-store.ts'
import { toUsageFact } from '../jobs/usage-facts.ts'
import type { DeleteOptions, Repository } from '../repository/repository.ts'

const POINTS_SUMMED_MAX = 10_000

export interface DeletionParts {
  readonly catalogue: Catalogue
  readonly repository: Repository
  readonly clock: Clock
}

/**
 * Deletes one restore point: first its manifest, then its row in the catalogue together with the event that tells the
 * cloud. The intent is in the catalogue before, so that a start after a crash knows a deleted point from a lost one.
 * Rejects with `repository.restore_point_not_found` where the catalogue has none in this repository,
 * `repository.restore_point_held`, and as `Repository.deleteRestorePoint`; then the point stays.
 */
export async function deleteRestorePoint(
  parts: DeletionParts,
  restorePointId: string,
  options: DeleteOptions,
): Promise<void> {
  const { catalogue, repository, clock } = parts
  await catalogue.transaction(async (tx) => {
    const point = await tx.restorePoints.find(restorePointId)
    if (point?.repositoryId !== repository.repositoryId) {
      const text = `there is no restore point ${restorePointId} in repository ${repository.repositoryId}`
      throw new PlatformError('repository.restore_point_not_found', text, { details: { restorePointId } })
    }
    if (point.hold !== undefined) {
      const text = `restore point ${restorePointId} is held: ${point.hold}`
      throw new PlatformError('repository.restore_point_held', text, { details: { restorePointId } })
    }
    await tx.restorePoints.setDeleting(restorePointId, clock.now())
  }, options)
  try {
    await repository.deleteRestorePoint(restorePointId, options)
  } catch (error) {
    if (!isPlatformError(error, 'repository.restore_point_not_found')) {
      // What it is after an error of the storage the next start finds out.
      if (!isPlatformError(error, 'repository.io_failed')) await giveUp(catalogue, restorePointId)
      throw error
    }
  }
  await forget(parts, restorePointId, options)
}

/**
 * Finishes deletions that a stop has cut off: where the manifest is gone the catalogue's row goes too, and the cloud is
 * told; where it is there the point stays. Rejects as `Repository.getRestorePoint`, but for manifests that are damaged.
 * @returns the ids of the points that were forgotten
 */
export async function settleDeletions(parts: DeletionParts, options: CallOptions): Promise<string[]> {
  const { catalogue, repository } = parts
  const { repositoryId } = repository
  const begun = await catalogue.transaction(async (tx) => await tx.restorePoints.listDeleting(repositoryId), options)
  const forgotten: string[] = []
  for (const { restorePointId } of begun) {
    try {
      await repository.getRestorePoint(restorePointId, options)
      await giveUp(catalogue, restorePointId)
    } catch (error) {
      if (isPlatformError(error, 'repository.manifest_invalid')) continue
      if (!isPlatformError(error, 'repository.restore_point_not_found')) throw error
      await forget(parts, restorePointId, options)
      forgotten.push(restorePointId)
    }
  }
  return forgotten
}

/** An aborted call must leave no mark behind. */
async function giveUp(catalogue: Catalogue, restorePointId: string): Promise<void> {
  const signal = AbortSignal.timeout(GIVE_UP_TIMEOUT_MS)
  await catalogue.transaction(async (tx) => await tx.restorePoints.setDeleting(restorePointId, undefined), { signal })
}

const GIVE_UP_TIMEOUT_MS = 10_000

async function forget(
  { catalogue, clock }: Pick<DeletionParts, 'catalogue' | 'clock'>,
  restorePointId: string,
  options: CallOptions,
): Promise<void> {
  const at = clock.now()
  await catalogue.transaction(async (tx) => {
    const point = await tx.restorePoints.find(restorePointId)
    if (point === undefined) return
    await tx.restorePoints.remove(restorePointId)
    await dropTracking(tx, point)
    const { vmId, repositoryId } = point
    const deletedAt = at.toISOString()
    await tx.outbox.append({ type: 'restore-point-deleted', restorePointId, vmId, repositoryId, deletedAt }, at)
    const left = await tx.restorePoints.list({ vmId, limit: POINTS_SUMMED_MAX })
    const amount = left.flatMap(({ disks }) => disks).reduce((sum, { storedBytes }) => sum + storedBytes, 0)
    const measured = { sourceId: `${restorePointId} deleted`, resourceId: vmId, amount, at }
    await tx.outbox.append({ type: 'usage-measured', facts: [toUsageFact({ ...measured, meter: 'stored-bytes' })] }, at)
  }, options)
}

/** A base that is gone serves nobody: the next backup compares, and the platform lets go of its checkpoint. */
async function dropTracking(tx: CatalogueTransaction, point: RestorePointRecord): Promise<void> {
  const vm = await tx.vms.find(point.vmId)
  const isBase = vm?.disks.some(({ tracking }) => tracking?.restorePointId === point.restorePointId)
  if (isBase === true) await tx.vms.setTracking(point.vmId, new Map())
}
