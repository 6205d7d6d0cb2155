import {
  bigint,
  boolean,
  char,
  customType,
  datetime,
  int,
  longtext,
  mysqlTable,
  primaryKey,
  varchar,
} from 'drizzle-orm/mysql-core'

/** The tables as queries see them; migrations/ holds how they are made. JSON is text here: the stores parse it. */
const id = (name: string) => char(name, { length: 36 })
const instant = (name: string) => datetime(name, { mode: 'date', fsp: 3 })
const byteCount = (name: string) => bigint(name, { mode: 'number', unsigned: true })

const mediumBlob = customType<{ data: Buffer; driverData: Buffer }>({ dataType: () => 'mediumblob' })

export const vmContext = mysqlTable('vm_context', {
  vmId: id('vm_id').primaryKey(),
  platform: varchar('platform', { length: 32 }).notNull(),
  platformRef: varchar('platform_ref', { length: 500 }),
  name: varchar('name', { length: 255 }).notNull(),
  powerState: varchar('power_state', { length: 16 }).notNull(),
  guestAgent: boolean('guest_agent').notNull(),
  hostName: varchar('host_name', { length: 255 }),
  memoryBytes: byteCount('memory_bytes').notNull(),
  cpuCount: int('cpu_count', { unsigned: true }).notNull(),
  present: boolean('present').notNull(),
  restoredFromRestorePointId: id('restored_from_restore_point_id'),
  restoredByJobId: id('restored_by_job_id'),
})

export const vmDisk = mysqlTable(
  'vm_disk',
  {
    vmId: id('vm_id').notNull(),
    diskId: varchar('disk_id', { length: 64 }).notNull(),
    position: int('position', { unsigned: true }).notNull(),
    sizeBytes: byteCount('size_bytes').notNull(),
    changeTracking: boolean('change_tracking').notNull(),
    trackingRestorePointId: id('tracking_restore_point_id'),
    trackingManifestHash: char('tracking_manifest_hash', { length: 64 }),
    trackingCheckpoint: varchar('tracking_checkpoint', { length: 500 }),
    trackingGranularityBytes: byteCount('tracking_granularity_bytes'),
    trackingSizeBytes: byteCount('tracking_size_bytes'),
  },
  (table) => [primaryKey({ columns: [table.vmId, table.diskId] })],
)

export const job = mysqlTable('job', {
  jobId: id('job_id').primaryKey(),
  kind: varchar('kind', { length: 16 }).notNull(),
  vmId: id('vm_id').notNull(),
  commandId: id('command_id'),
  arguments: longtext('arguments').notNull(),
  state: varchar('state', { length: 16 }).notNull(),
  revision: int('revision', { unsigned: true }).notNull(),
  attempt: int('attempt', { unsigned: true }).notNull(),
  queuedAt: instant('queued_at').notNull(),
  startedAt: instant('started_at'),
  endedAt: instant('ended_at'),
  result: longtext('result'),
  error: longtext('error'),
})

export const jobLog = mysqlTable(
  'job_log',
  {
    jobId: id('job_id').notNull(),
    sequence: int('sequence', { unsigned: true }).notNull(),
    at: instant('at').notNull(),
    level: varchar('level', { length: 16 }).notNull(),
    step: varchar('step', { length: 64 }).notNull(),
    sentence: varchar('sentence', { length: 1000 }).notNull(),
  },
  (table) => [primaryKey({ columns: [table.jobId, table.sequence] })],
)

export const repository = mysqlTable('repository', {
  repositoryId: id('repository_id').primaryKey(),
  name: varchar('name', { length: 255 }).notNull(),
  kind: varchar('kind', { length: 32 }).notNull(),
  location: varchar('location', { length: 1000 }).notNull(),
})

export const restorePoint = mysqlTable('restore_point', {
  restorePointId: id('restore_point_id').primaryKey(),
  vmId: id('vm_id').notNull(),
  vmName: varchar('vm_name', { length: 255 }).notNull(),
  repositoryId: id('repository_id').notNull(),
  jobId: id('job_id').notNull(),
  parentRestorePointId: id('parent_restore_point_id'),
  takenAt: instant('taken_at').notNull(),
  sealedAt: instant('sealed_at').notNull(),
  consistency: varchar('consistency', { length: 16 }).notNull(),
  manifestHash: char('manifest_hash', { length: 64 }).notNull(),
  disks: longtext('disks').notNull(),
  adopted: boolean('adopted').notNull(),
  verification: longtext('verification'),
  deletingSince: instant('deleting_since'),
  hold: varchar('hold', { length: 255 }),
})

export const commandInbox = mysqlTable('command_inbox', {
  commandId: id('command_id').primaryKey(),
  sequence: byteCount('sequence').notNull(),
  state: varchar('state', { length: 16 }).notNull(),
  payload: longtext('payload').notNull(),
  receivedAt: instant('received_at').notNull(),
})

export const eventOutbox = mysqlTable('event_outbox', {
  sequence: byteCount('sequence').primaryKey(),
  at: instant('at').notNull(),
  event: longtext('event').notNull(),
})

export const setting = mysqlTable('setting', {
  name: varchar('name', { length: 64 }).primaryKey(),
  value: byteCount('value').notNull(),
})

export const captureAgent = mysqlTable('capture_agent', {
  captureAgentId: id('capture_agent_id').primaryKey(),
  name: varchar('name', { length: 255 }).notNull(),
  ports: longtext('ports').notNull(),
  keyFingerprint: varchar('key_fingerprint', { length: 64 }).notNull(),
  publicKey: varchar('public_key', { length: 500 }).notNull(),
  enrolledAt: instant('enrolled_at').notNull(),
  revokedAt: instant('revoked_at'),
})

export const captureToken = mysqlTable('capture_token', {
  secretHash: char('secret_hash', { length: 64 }).primaryKey(),
  captureAgentId: id('capture_agent_id').notNull(),
  name: varchar('name', { length: 255 }).notNull(),
  ports: longtext('ports').notNull(),
  expiresAt: instant('expires_at').notNull(),
  usedBy: varchar('used_by', { length: 64 }),
})

export const chunkPack = mysqlTable(
  'chunk_pack',
  {
    repositoryId: id('repository_id').notNull(),
    packId: char('pack_id', { length: 40 }).notNull(),
    generation: int('generation', { unsigned: true }).notNull(),
    epoch: int('epoch', { unsigned: true }).notNull(),
    sizeBytes: byteCount('size_bytes').notNull(),
    lockedUntil: instant('locked_until'),
    directory: mediumBlob('directory').notNull(),
  },
  (table) => [primaryKey({ columns: [table.repositoryId, table.packId] })],
)
