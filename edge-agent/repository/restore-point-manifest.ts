import { ByteCount, DiskId, Hash256, Instant } from '@sendense/shared/contracts/identifiers.ts'
import { backupModes, backupReasonCodes } from '@sendense/shared/domain/backup-reason.ts'
import { consistencyLevels } from '@sendense/shared/domain/consistency.ts'
import { platformKinds } from '@sendense/shared/domain/platform.ts'
import { z } from 'zod'

export const ManifestDisk = z.strictObject({
  diskId: DiskId,
  sizeBytes: ByteCount,
  chunkSizeBytes: z.int().positive(),
  mode: z.enum(backupModes),
  reason: z.enum(backupReasonCodes),
  readBytes: ByteCount,
  writtenBytes: ByteCount,
  zeroedBytes: ByteCount,
  storedBytes: ByteCount,
  /** Names of the chunk-id pages in disk order: BLAKE3-256 of each page's bytes. */
  pages: z.array(Hash256),
  /** Files that make up the content, newest first, relative to the repository. Kind `qcow2-chain` only. */
  layers: z.array(z.string().max(500)).max(64).optional(),
  /** Base of the next incremental; absent where the disk cannot track changes. */
  tracking: z.strictObject({ checkpoint: z.string().max(500), granularityBytes: ByteCount }).optional(),
})
export type ManifestDisk = z.infer<typeof ManifestDisk>

/** The restore point as its backup sealed it. All copies of it name the same, also copies of copies. */
export const RestorePointOrigin = z.strictObject({
  repositoryId: z.uuid(),
  restorePointId: z.uuid(),
  manifestHash: Hash256,
})
export type RestorePointOrigin = z.infer<typeof RestorePointOrigin>

/** The truth about one restore point. A restore point exists if and only if its sealed manifest does. */
export const RestorePointManifest = z.strictObject({
  version: z.literal(1),
  restorePointId: z.uuid(),
  repositoryId: z.uuid(),
  tenantId: z.uuid(),
  agentId: z.uuid(),
  jobId: z.uuid(),
  vmId: z.uuid(),
  vmName: z.string().max(255),
  platform: z.enum(platformKinds),
  platformRef: z.string().max(500),
  /** JSON the platform's target connector makes the VM from. */
  definition: z.record(z.string(), z.unknown()),
  memoryBytes: ByteCount,
  cpuCount: z.int().nonnegative(),
  parentRestorePointId: z.uuid().optional(),
  /** Hash of the parent's manifest: chains cannot be re-ordered or replayed. */
  parentManifestHash: Hash256.optional(),
  takenAt: Instant,
  sealedAt: Instant,
  /** Until when nobody could delete what the restore point needs, by the storage's own answer before it was sealed. */
  protectedUntil: Instant.optional(),
  consistency: z.enum(consistencyLevels),
  /** Present: a copy, with the id of what it is a copy of. No copy has `tracking`. */
  origin: RestorePointOrigin.optional(),
  disks: z.array(ManifestDisk).min(1).max(256),
})
export type RestorePointManifest = z.infer<typeof RestorePointManifest>

/** A manifest as read back: its signature was checked. */
export interface SealedManifest {
  readonly manifest: RestorePointManifest
  /** SHA-256 of the exact signed payload, hexadecimal. */
  readonly manifestHash: string
}
