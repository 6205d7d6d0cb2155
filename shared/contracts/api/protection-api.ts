import { z } from 'zod'
import { alertSeverities } from '../../domain/alert-severity.ts'
import { commandStates } from '../../domain/command-state.ts'
import { consistencyLevels } from '../../domain/consistency.ts'
import { jobStates } from '../../domain/job-state.ts'
import { platformKinds } from '../../domain/platform.ts'
import { ErrorReport } from '../error-report.ts'
import { Instant, VmName } from '../identifiers.ts'
import { DiskReport, PowerState } from '../inventory.ts'
import { JobKind, JobLogEntry, JobProgress, JobResult } from '../job.ts'
import { DiskBackupFacts, VerificationReport } from '../restore-point.ts'

export const PAGE_SIZE_MAX = 200

export const VmView = z.strictObject({
  vmId: z.uuid(),
  agentId: z.uuid(),
  siteId: z.uuid(),
  siteName: z.string(),
  customerId: z.uuid(),
  customerName: z.string(),
  name: z.string(),
  platform: z.enum(platformKinds),
  /** Host it is on, where that is not its agent's own machine. */
  hostName: z.string().nullable(),
  powerState: PowerState,
  guestAgent: z.boolean(),
  memoryBytes: z.number(),
  cpuCount: z.int(),
  disks: z.array(DiskReport),
  restoredFrom: z.strictObject({ restorePointId: z.uuid(), jobId: z.uuid() }).nullable(),
  /** False once a full inventory did not list it any more. */
  present: z.boolean(),
  lastRestorePointAt: Instant.nullable(),
  restorePointCount: z.int(),
  /** A job of this VM that has not ended. */
  runningJobId: z.uuid().nullable(),
})
export type VmView = z.infer<typeof VmView>

export const RepositoryView = z.strictObject({
  repositoryId: z.uuid(),
  agentId: z.uuid(),
  siteId: z.uuid(),
  siteName: z.string(),
  name: z.string(),
  kind: z.enum(['qcow2-chain', 'chunk-store']),
  location: z.string(),
  state: z.enum(['ready', 'missing', 'failed']),
  capacityBytes: z.number().nullable(),
  freeBytes: z.number().nullable(),
  checkedAt: Instant,
  restorePointCount: z.int(),
  storedBytes: z.number(),
})
export type RepositoryView = z.infer<typeof RepositoryView>

export const RestorePointView = z.strictObject({
  restorePointId: z.uuid(),
  vmId: z.uuid(),
  vmName: z.string(),
  repositoryId: z.uuid(),
  repositoryName: z.string(),
  jobId: z.uuid(),
  parentRestorePointId: z.uuid().nullable(),
  takenAt: Instant,
  sealedAt: Instant,
  consistency: z.enum(consistencyLevels),
  manifestHash: z.string(),
  disks: z.array(DiskBackupFacts),
  lastVerification: VerificationReport.nullable(),
})
export type RestorePointView = z.infer<typeof RestorePointView>

export const JobView = z.strictObject({
  jobId: z.uuid(),
  kind: JobKind,
  /** As the agent reported it; `queued` until it did. */
  state: z.enum(jobStates),
  /** How far the order itself came: says why a queued job does not start. */
  commandState: z.enum(commandStates),
  vmId: z.uuid(),
  vmName: z.string(),
  agentId: z.uuid(),
  siteName: z.string(),
  repositoryId: z.uuid().nullable(),
  restorePointId: z.uuid().nullable(),
  requestedBy: z.string(),
  queuedAt: Instant,
  startedAt: Instant.nullable(),
  endedAt: Instant.nullable(),
  progress: JobProgress.nullable(),
  result: JobResult.nullable(),
  error: ErrorReport.nullable(),
})
export type JobView = z.infer<typeof JobView>

export const JobDetailView = JobView.extend({ log: z.array(JobLogEntry) })
export type JobDetailView = z.infer<typeof JobDetailView>

export const StartBackupInput = z.strictObject({
  vmId: z.uuid(),
  /** Absent: the only repository of the VM's agent, or the one its last restore point is in. */
  repositoryId: z.uuid().optional(),
  mode: z.enum(['auto', 'full']).default('auto'),
  quiesce: z.boolean().default(true),
  /** Same key, same job: a repeated click or request starts one. */
  idempotencyKey: z.uuid(),
})
export const StartRestoreInput = z.strictObject({
  restorePointId: z.uuid(),
  newVmName: VmName,
  start: z.boolean().default(true),
  idempotencyKey: z.uuid(),
})
export const StartVerifyInput = z.strictObject({ restorePointId: z.uuid(), idempotencyKey: z.uuid() })

/** What the live stream tells; a client re-reads or patches what it names. */
export const LiveEvent = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('job-changed'), jobId: z.uuid(), vmId: z.uuid(), state: z.enum(jobStates) }),
  z.strictObject({ type: z.literal('job-progress'), progress: JobProgress }),
  z.strictObject({ type: z.literal('restore-point-added'), restorePointId: z.uuid(), vmId: z.uuid() }),
  z.strictObject({ type: z.literal('restore-point-changed'), restorePointId: z.uuid(), vmId: z.uuid() }),
  z.strictObject({ type: z.literal('inventory-changed'), agentId: z.uuid() }),
  z.strictObject({ type: z.literal('agent-changed'), agentId: z.uuid() }),
  z.strictObject({
    type: z.literal('alert-raised'),
    alertId: z.uuid(),
    agentId: z.uuid(),
    severity: z.enum(alertSeverities),
  }),
  z.strictObject({ type: z.literal('alert-acknowledged'), alertId: z.uuid(), agentId: z.uuid() }),
  /** Events may have been missed since the last one this client saw: re-read what is shown. */
  z.strictObject({ type: z.literal('stream-reset') }),
])
export type LiveEvent = z.infer<typeof LiveEvent>
