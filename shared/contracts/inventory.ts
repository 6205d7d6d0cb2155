import { z } from 'zod'
import { platformKinds } from '../domain/platform.ts'
import { ByteCount, DiskId, Instant } from './identifiers.ts'

export const PowerState = z.enum(['running', 'stopped', 'paused', 'unknown'])
export type PowerState = z.infer<typeof PowerState>

export const DiskReport = z.strictObject({
  diskId: DiskId,
  sizeBytes: ByteCount,
  /** Can the platform report changes of this disk? */
  changeTracking: z.boolean(),
})
export type DiskReport = z.infer<typeof DiskReport>

/** One VM as its agent knows it. `vmId` is the id of the agent's VM context and never changes. */
export const VmReport = z.strictObject({
  vmId: z.uuid(),
  platform: z.enum(platformKinds),
  /** The platform's own name of it: a directory, a libvirt UUID, a managed object id. */
  platformRef: z.string().max(500),
  name: z.string().max(255),
  /** Host it is on, where that is not the agent's own machine. */
  hostName: z.string().min(1).max(255).optional(),
  powerState: PowerState,
  guestAgent: z.boolean(),
  memoryBytes: ByteCount,
  cpuCount: z.int().nonnegative(),
  disks: z.array(DiskReport).max(256),
  /** Set where this VM was made by a restore. */
  restoredFrom: z.strictObject({ restorePointId: z.uuid(), jobId: z.uuid() }).optional(),
})
export type VmReport = z.infer<typeof VmReport>

export const RepositoryReport = z.strictObject({
  repositoryId: z.uuid(),
  name: z.string().max(255),
  kind: z.enum(['qcow2-chain', 'chunk-store']),
  /** Where it is, for people: a path or a bucket address without credentials. */
  location: z.string().max(1000),
  /** `missing`: the path or mount is not there now. */
  state: z.enum(['ready', 'missing', 'failed']),
  capacityBytes: ByteCount.optional(),
  freeBytes: ByteCount.optional(),
  checkedAt: Instant,
})
export type RepositoryReport = z.infer<typeof RepositoryReport>

export const InventoryReport = z.strictObject({
  takenAt: Instant,
  hostname: z.string().max(255),
  agentVersion: z.string().max(64),
  vms: z.array(VmReport).max(5000),
  repositories: z.array(RepositoryReport).max(256),
})
export type InventoryReport = z.infer<typeof InventoryReport>
