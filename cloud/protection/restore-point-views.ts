import { PAGE_SIZE_MAX, type RestorePointView } from '@sendense/shared/contracts/api/protection-api.ts'
import { DiskBackupFacts } from '@sendense/shared/contracts/restore-point.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { and, desc, eq, inArray, lt, type SQL } from 'drizzle-orm'
import { z } from 'zod'
import type { TenantTransaction } from '../db/database.ts'
import { repository, restorePoint, verification } from '../db/schema/protection.ts'

/**
 * One page, newest first. It ends between two instants, never inside one, so that its last time leads on to the next:
 * it is longer than its limit where several were taken at the same moment.
 */
export async function listRestorePoints(
  tx: TenantTransaction,
  filter: { vmId?: string | undefined; before?: string | undefined },
): Promise<RestorePointView[]> {
  const ofVm = filter.vmId === undefined ? undefined : eq(restorePoint.vmId, filter.vmId)
  const older = filter.before === undefined ? undefined : lt(restorePoint.takenAt, new Date(filter.before))
  const page = await selectRestorePoints(tx, and(ofVm, older), PAGE_SIZE_MAX)
  const last = page.at(-1)
  if (last === undefined || page.length < PAGE_SIZE_MAX) return page
  const isTie = and(eq(restorePoint.takenAt, new Date(last.takenAt)), lt(restorePoint.id, last.restorePointId))
  return [...page, ...(await selectRestorePoints(tx, and(ofVm, isTie), PAGE_SIZE_MAX))]
}

/** Rejects with `resource.not_found`. */
export async function getRestorePoint(tx: TenantTransaction, restorePointId: string): Promise<RestorePointView> {
  const [found] = await selectRestorePoints(tx, eq(restorePoint.id, restorePointId), 1)
  if (found === undefined) {
    throw new PlatformError('resource.not_found', `restore point ${restorePointId} is not there`)
  }
  return found
}

async function selectRestorePoints(
  tx: TenantTransaction,
  condition: SQL | undefined,
  limit: number,
): Promise<RestorePointView[]> {
  const rows = await tx
    .select({ point: restorePoint, repositoryName: repository.name })
    .from(restorePoint)
    .innerJoin(repository, and(eq(repository.mspId, restorePoint.mspId), eq(repository.id, restorePoint.repositoryId)))
    .where(condition)
    .orderBy(desc(restorePoint.takenAt), desc(restorePoint.id))
    .limit(limit)
  const verifications = await newestVerifications(
    tx,
    rows.map((row) => row.point.id),
  )
  return rows.map(({ point, repositoryName }) => ({
    restorePointId: point.id,
    vmId: point.vmId,
    vmName: point.vmName,
    repositoryId: point.repositoryId,
    repositoryName,
    jobId: point.jobId,
    parentRestorePointId: point.parentId,
    takenAt: point.takenAt.toISOString(),
    sealedAt: point.sealedAt.toISOString(),
    consistency: point.consistency,
    manifestHash: point.manifestHash,
    disks: z.array(DiskBackupFacts).parse(point.disks),
    lastVerification: verifications.get(point.id) ?? null,
  }))
}

async function newestVerifications(tx: TenantTransaction, restorePointIds: string[]) {
  const newest = new Map<string, NonNullable<RestorePointView['lastVerification']>>()
  if (restorePointIds.length === 0) return newest
  const rows = await tx
    .selectDistinctOn([verification.restorePointId])
    .from(verification)
    .where(inArray(verification.restorePointId, restorePointIds))
    .orderBy(verification.restorePointId, desc(verification.at))
  for (const { restorePointId, at, level, outcome, checkedBytes, summary } of rows) {
    newest.set(restorePointId, { restorePointId, at: at.toISOString(), level, outcome, checkedBytes, summary })
  }
  return newest
}
