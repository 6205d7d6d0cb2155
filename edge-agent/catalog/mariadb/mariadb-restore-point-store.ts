import { RestorePointReport, VerificationReport } from '@sendense/shared/contracts/restore-point.ts'
import { and, desc, eq } from 'drizzle-orm'
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
      const { disks, parentRestorePointId, verification, ...rest } = record
      await tx.insert(restorePoint).values({
        ...rest,
        parentRestorePointId: parentRestorePointId ?? null,
        takenAt: new Date(record.takenAt),
        sealedAt: new Date(record.sealedAt),
        disks: JSON.stringify(disks),
        verification: verification === undefined ? null : JSON.stringify(verification),
      })
      return true
    },
    async setVerification(report) {
      await tx
        .update(restorePoint)
        .set({ verification: JSON.stringify(report) })
        .where(eq(restorePoint.restorePointId, report.restorePointId))
    },
  }
  return store
}

function parseRow(row: typeof restorePoint.$inferSelect): RestorePointRecord {
  const { adopted, verification, parentRestorePointId, ...rest } = row
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
    ...(verification === null ? {} : { verification: VerificationReport.parse(JSON.parse(verification)) }),
  }
}
