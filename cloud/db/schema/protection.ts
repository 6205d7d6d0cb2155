import type { RepositoryReport } from '@sendense/shared/contracts/inventory.ts'
import type { PowerState } from '@sendense/shared/contracts/inventory.ts'
import type { JobKind, JobLogEntry } from '@sendense/shared/contracts/job.ts'
import type { VerificationReport } from '@sendense/shared/contracts/restore-point.ts'
import type { AlertSeverity } from '@sendense/shared/domain/alert-severity.ts'
import type { ConsistencyLevel } from '@sendense/shared/domain/consistency.ts'
import type { JobState } from '@sendense/shared/domain/job-state.ts'
import type { PlatformKind } from '@sendense/shared/domain/platform.ts'
import { bigint, boolean, integer, jsonb, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core'
import { instant } from './tenancy.ts'

const tenant = { mspId: uuid('msp_id').notNull(), customerId: uuid('customer_id').notNull() }
const bytes = (name: string) => bigint(name, { mode: 'number' })

export const vm = pgTable(
  'vm',
  {
    ...tenant,
    id: uuid('id').notNull(),
    agentId: uuid('agent_id').notNull(),
    platform: text('platform').$type<PlatformKind>().notNull(),
    platformRef: text('platform_ref').notNull(),
    name: text('name').notNull(),
    hostName: text('host_name'),
    powerState: text('power_state').$type<PowerState>().notNull(),
    guestAgent: boolean('guest_agent').notNull(),
    memoryBytes: bytes('memory_bytes').notNull(),
    cpuCount: integer('cpu_count').notNull(),
    disks: jsonb('disks').notNull(),
    restoredFrom: jsonb('restored_from'),
    /** False once a full inventory did not list it. */
    present: boolean('present').notNull(),
    reportedAt: instant('reported_at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.id] })],
)

export const repository = pgTable(
  'repository',
  {
    ...tenant,
    id: uuid('id').notNull(),
    agentId: uuid('agent_id').notNull(),
    name: text('name').notNull(),
    kind: text('kind').$type<RepositoryReport['kind']>().notNull(),
    location: text('location').notNull(),
    state: text('state').$type<RepositoryReport['state']>().notNull(),
    capacityBytes: bytes('capacity_bytes'),
    freeBytes: bytes('free_bytes'),
    checkedAt: instant('checked_at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.id] })],
)

/** One recoverable instant of one VM. The row is an index entry; the manifest in the repository is the truth. */
export const restorePoint = pgTable(
  'restore_point',
  {
    ...tenant,
    id: uuid('id').notNull(),
    agentId: uuid('agent_id').notNull(),
    vmId: uuid('vm_id').notNull(),
    vmName: text('vm_name').notNull(),
    repositoryId: uuid('repository_id').notNull(),
    jobId: uuid('job_id').notNull(),
    /** Null: it builds on none. */
    parentId: uuid('parent_id'),
    takenAt: instant('taken_at').notNull(),
    sealedAt: instant('sealed_at').notNull(),
    consistency: text('consistency').$type<ConsistencyLevel>().notNull(),
    manifestHash: text('manifest_hash').notNull(),
    disks: jsonb('disks').notNull(),
    /** Sum over its disks. */
    storedBytes: bytes('stored_bytes').notNull(),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.id] })],
)

export const verification = pgTable(
  'verification',
  {
    ...tenant,
    restorePointId: uuid('restore_point_id').notNull(),
    at: instant('at').notNull(),
    level: text('level').$type<VerificationReport['level']>().notNull(),
    outcome: text('outcome').$type<VerificationReport['outcome']>().notNull(),
    checkedBytes: bytes('checked_bytes').notNull(),
    summary: text('summary').notNull(),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.restorePointId, table.at, table.level] })],
)

export const job = pgTable(
  'job',
  {
    ...tenant,
    id: uuid('id').notNull(),
    kind: text('kind').$type<JobKind>().notNull(),
    state: text('state').$type<JobState>().notNull(),
    /** Of the newest report; -1 while only the cloud knows the job. */
    revision: integer('revision').notNull(),
    /** The cloud ended it, for want of a report; a late report then still counts. */
    endedByCloud: boolean('ended_by_cloud').notNull().default(false),
    agentId: uuid('agent_id').notNull(),
    vmId: uuid('vm_id').notNull(),
    vmName: text('vm_name').notNull(),
    repositoryId: uuid('repository_id'),
    restorePointId: uuid('restore_point_id'),
    commandId: uuid('command_id'),
    requestedBy: text('requested_by').notNull(),
    idempotencyKey: uuid('idempotency_key'),
    queuedAt: instant('queued_at').notNull(),
    startedAt: instant('started_at'),
    endedAt: instant('ended_at'),
    attempt: integer('attempt').notNull().default(0),
    result: jsonb('result'),
    error: jsonb('error'),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.id] })],
)

export const jobLog = pgTable(
  'job_log',
  {
    ...tenant,
    jobId: uuid('job_id').notNull(),
    sequence: integer('sequence').notNull(),
    at: instant('at').notNull(),
    level: text('level').$type<JobLogEntry['level']>().notNull(),
    step: text('step').notNull(),
    sentence: text('sentence').notNull(),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.jobId, table.sequence] })],
)

export const alert = pgTable(
  'alert',
  {
    ...tenant,
    id: uuid('id').notNull(),
    agentId: uuid('agent_id').notNull(),
    severity: text('severity').$type<AlertSeverity>().notNull(),
    error: jsonb('error').notNull(),
    raisedAt: instant('raised_at').notNull(),
    /** Both or none: when and by whom, an e-mail address. */
    acknowledgedAt: instant('acknowledged_at'),
    acknowledgedBy: text('acknowledged_by'),
  },
  (table) => [primaryKey({ columns: [table.mspId, table.id] })],
)
