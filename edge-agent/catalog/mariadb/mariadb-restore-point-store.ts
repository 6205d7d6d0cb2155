import { RestorePointReport, VerificationReport } from '@sendense/shared/contracts/restore-point.ts'
import { and, asc, desc, eq, isNotNull } from 'drizzle-orm'
import type { RestorePointRecord, RestorePointStore } from '../restore-point-store.ts'
import type { DatabaseTransaction } from './database-connection.ts'
import { restorePoint } from './schema.ts'

export function createMariadbRestorePointStore(tx: DatabaseTransaction): RestorePointStore {
  const select = () => tx.select().from(restorePoint)
  const newestFirst = [desc(restorePoint.takenAt), desc(restorePoint.restorePointId)] as const
  const store: RestorePointStore = {
    async find(restorePointId) {
      const [row] = await select().where(eq(restorePoint.restorePointId, restorePointId))
      return row === undefined ? undefined : parseRow(row)
    },
    async findByJob(jobId) {
      const [row] = await select()
        .where(eq(restorePoint.jobId, jobId))
        .orderBy(...newestFirst)
        .limit(1)
      return row === undefined ? undefined : parseRow(row)
    },
    async findNewest(vmId, repositoryId) {
      return (await store.list({ vmId, repositoryId, limit: 1 }))[0]
    },
    async list({ vmId, repositoryId, limit }) {
      const rows = await select()
        .where(
          and(
            vmId === undefined ? undefined : eq(restorePoint.vmId, vmId),
            repositoryId === undefined ? undefined : eq(restorePoint.repositoryId, repositoryId),
          ),
        )
        .orderBy(...newestFirst)
        .limit(limit)
      return rows.map(parseRow)
    },
    async insert(record) {
      if ((await store.find(record.restorePointId)) !== undefined) return false
      const { disks, parentRestorePointId, verification, deletingSince, hold, ...rest } = record
      await tx.insert(restorePoint).values({
        ...rest,
        parentRestorePointId: parentRestorePointId ?? null,
        takenAt: new Date(record.takenAt),
        sealedAt: new Date(record.sealedAt),
        disks: JSON.stringify(disks),
        verification: verification === undefined ? null : JSON.stringify(verification),
        deletingSince: deletingSince ?? null,
        hold: hold ?? null,
      })
      return true
    },
    async setVerification(report) {
      await tx
        .update(restorePoint)
        .set({ verification: JSON.stringify(report) })
        .where(eq(restorePoint.restorePointId, report.restorePointId))
    },
    async setDeleting(restorePointId, since) {
      const where = eq(restorePoint.restorePointId, restorePointId)
      await tx
        .update(restorePoint)
        .set({ deletingSince: since ?? null })
        .where(where)
    },
    async listDeleting(repositoryId) {
      const rows = await select()
        .where(and(eq(restorePoint.repositoryId, repositoryId), isNotNull(restorePoint.deletingSince)))
        .orderBy(asc(restorePoint.takenAt), asc(restorePoint.restorePointId))
      return rows.map(parseRow)
    },
    async setHold(restorePointId, hold) {
      const where = eq(restorePoint.restorePointId, restorePointId)
      await tx
        .update(restorePoint)
        .set({ hold: hold ?? null })
        .where(where)
    },
    async remove(restorePointId) {
      await tx.delete(restorePoint).where(eq(restorePoint.restorePointId, restorePointId))
    },
  }
  return store
}

function parseRow(row: typeof restorePoint.$inferSelect): RestorePointRecord {
  const { adopted, verification, parentRestorePointId, deletingSince, hold, ...rest } = row
  const report = RestorePointReport.parse({
    ...rest,
    ...(parentRestorePointId === null ? {} : { parentRestorePointId }),
    takenAt: row.takenAt.toISOString(),
    sealedAt: row.sealedAt.toISOString(),
    disks: JSON.parse(row.disks),
  })
  return {
    ...report,
    adopted,
    ...(deletingSince === null ? {} : { deletingSince }),
    ...(hold === null ? {} : { hold }),
    ...(verification === null ? {} : { verification: VerificationReport.parse(JSON.parse(verification)) }),
  }
}
