import { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { JobKind, JobLogEntry, JobResult } from '@sendense/shared/contracts/job.ts'
import { jobStates } from '@sendense/shared/domain/job-state.ts'
import { and, asc, desc, eq, inArray } from 'drizzle-orm'
import { z } from 'zod'
import { JobArguments, type JobRecord, type JobStore } from '../job-store.ts'
import type { DatabaseTransaction } from './database-connection.ts'
import { job, jobLog } from './schema.ts'

export function createMariadbJobStore(tx: DatabaseTransaction): JobStore {
  return {
    async find(jobId) {
      const [row] = await tx.select().from(job).where(eq(job.jobId, jobId)).for('update')
      return row === undefined ? undefined : parseRow(row)
    },
    async insert(record) {
      const values = toRow(record)
      // An id that exists keeps its row.
      await tx
        .insert(job)
        .values(values)
        .onDuplicateKeyUpdate({ set: { jobId: values.jobId } })
    },
    async update(record) {
      const { jobId, ...rest } = toRow(record)
      await tx.update(job).set(rest).where(eq(job.jobId, jobId))
    },
    async list({ states, vmId, kind, newestFirst = false, limit }) {
      const order = newestFirst ? desc : asc
      const rows = await tx
        .select()
        .from(job)
        .where(
          and(
            states === undefined ? undefined : inArray(job.state, [...states]),
            vmId === undefined ? undefined : eq(job.vmId, vmId),
            kind === undefined ? undefined : eq(job.kind, kind),
          ),
        )
        .orderBy(order(job.queuedAt), order(job.jobId))
        .limit(limit)
      return rows.map(parseRow)
    },
    async appendLog(jobId, entry) {
      const values = { jobId, ...entry, at: new Date(entry.at) }
      await tx.insert(jobLog).values(values).onDuplicateKeyUpdate({ set: { jobId } })
    },
    async listLog(jobId) {
      const rows = await tx.select().from(jobLog).where(eq(jobLog.jobId, jobId)).orderBy(asc(jobLog.sequence))
      return rows.map(({ jobId: _jobId, ...row }) => JobLogEntry.parse({ ...row, at: row.at.toISOString() }))
    },
  }
}

function toRow(record: JobRecord): typeof job.$inferInsert {
  return {
    ...record,
    commandId: record.commandId ?? null,
    arguments: JSON.stringify(record.arguments),
    startedAt: record.startedAt ?? null,
    endedAt: record.endedAt ?? null,
    result: record.result === undefined ? null : JSON.stringify(record.result),
    error: record.error === undefined ? null : JSON.stringify(record.error),
  }
}

function parseRow(row: typeof job.$inferSelect): JobRecord {
  return {
    jobId: row.jobId,
    kind: JobKind.parse(row.kind),
    vmId: row.vmId,
    arguments: JobArguments.parse(JSON.parse(row.arguments)),
    state: z.enum(jobStates).parse(row.state),
    revision: row.revision,
    attempt: row.attempt,
    queuedAt: row.queuedAt,
    ...(row.commandId === null ? {} : { commandId: row.commandId }),
    ...(row.startedAt === null ? {} : { startedAt: row.startedAt }),
    ...(row.endedAt === null ? {} : { endedAt: row.endedAt }),
    ...(row.result === null ? {} : { result: JobResult.parse(JSON.parse(row.result)) }),
    ...(row.error === null ? {} : { error: ErrorReport.parse(JSON.parse(row.error)) }),
  }
}
