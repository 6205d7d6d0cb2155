import { z } from 'zod'
import { backupModes, backupReasonCodes } from '../domain/backup-reason.ts'
import { consistencyLevels } from '../domain/consistency.ts'
import { ByteCount, DiskId, Hash256, Instant } from './identifiers.ts'

export const DiskBackupFacts = z.strictObject({
  diskId: DiskId,
  sizeBytes: ByteCount,
  mode: z.enum(backupModes),
  reason: z.enum(backupReasonCodes),
  /** Read from the source, in bytes; of an incremental about what had changed. */
  readBytes: ByteCount,
  /** Written as data to the repository. */
  writtenBytes: ByteCount,
  /** Written as explicit zeros. */
  zeroedBytes: ByteCount,
  /** What this restore point's own file takes on the storage. */
  storedBytes: ByteCount,
})
export type DiskBackupFacts = z.infer<typeof DiskBackupFacts>

export const VerificationLevel = z.enum(['L0', 'L1', 'L2', 'L3', 'L4', 'L5'])
export const VerificationReport = z.strictObject({
  restorePointId: z.uuid(),
  level: VerificationLevel,
  outcome: z.enum(['passed', 'failed']),
  at: Instant,
  checkedBytes: ByteCount,
  /** A sentence for people: what was proven, or what is broken. */
  summary: z.string().max(2000),
})
export type VerificationReport = z.infer<typeof VerificationReport>

/** One recoverable instant of one VM, as its agent reports it once the manifest is sealed. */
export const RestorePointReport = z.strictObject({
  restorePointId: z.uuid(),
  vmId: z.uuid(),
  vmName: z.string().max(255),
  repositoryId: z.uuid(),
  jobId: z.uuid(),
  parentRestorePointId: z.uuid().optional(),
  /** The instant of the source's disks, not the end of the transfer. */
  takenAt: Instant,
  sealedAt: Instant,
  consistency: z.enum(consistencyLevels),
  manifestHash: Hash256,
  disks: z.array(DiskBackupFacts).min(1).max(256),
})
export type RestorePointReport = z.infer<typeof RestorePointReport>
