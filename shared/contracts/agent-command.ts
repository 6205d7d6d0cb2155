import { z } from 'zod'
import { Instant, VmName } from './identifiers.ts'

/**
 * Power of a command. The online key is enough for `read` and `operate`; `sensitive` needs one human
 * approval, `destructive` two.
 */
export const commandClasses = ['read', 'operate', 'sensitive', 'destructive'] as const
export const CommandClass = z.enum(commandClasses)
export type CommandClass = z.infer<typeof CommandClass>

/** Reads the platforms and repositories now and reports the inventory. */
export const RefreshInventory = z.strictObject({ type: z.literal('refresh-inventory') })

export const BackupVm = z.strictObject({
  type: z.literal('backup-vm'),
  /** Made by the sender: the job exists for both sides before the agent hears of it. */
  jobId: z.uuid(),
  vmId: z.uuid(),
  repositoryId: z.uuid(),
  /** `auto`: incremental where change tracking allows. */
  mode: z.enum(['auto', 'full']),
  /** Freeze file systems where the guest agent answers. */
  quiesce: z.boolean(),
  /** Ceiling on source reads. Absent: unlimited. */
  readRateMaxBytesPerSecond: z.int().positive().optional(),
})

/** Makes a new VM from a restore point; never touches an existing one. */
export const RestoreVm = z.strictObject({
  type: z.literal('restore-vm'),
  jobId: z.uuid(),
  restorePointId: z.uuid(),
  repositoryId: z.uuid(),
  newVmName: VmName,
  /** Boot it and wait until it shows that it came up. */
  start: z.boolean(),
})

/** Reads a whole restore point back and checks every chunk against the manifest (L2). */
export const VerifyRestorePoint = z.strictObject({
  type: z.literal('verify-restore-point'),
  jobId: z.uuid(),
  restorePointId: z.uuid(),
  repositoryId: z.uuid(),
})

export const CancelJob = z.strictObject({ type: z.literal('cancel-job'), jobId: z.uuid() })

export const AgentCommand = z.discriminatedUnion('type', [
  RefreshInventory,
  BackupVm,
  RestoreVm,
  VerifyRestorePoint,
  CancelJob,
])
export type AgentCommand = z.infer<typeof AgentCommand>
export type AgentCommandOf<T extends AgentCommand['type']> = Extract<AgentCommand, { type: T }>

/** Class of each command. The agent takes it from here, never from the message. */
export const commandClassOf: { readonly [T in AgentCommand['type']]: CommandClass } = {
  'refresh-inventory': 'read',
  'backup-vm': 'operate',
  // To a new VM beside the original: nothing existing is overwritten.
  'restore-vm': 'operate',
  'verify-restore-point': 'read',
  'cancel-job': 'operate',
}

/** The signed payload of a command. */
export const CommandPayload = z.strictObject({
  kind: z.literal('command'),
  version: z.literal(1),
  commandId: z.uuid(),
  /** Agent it is meant for. */
  agentId: z.uuid(),
  /** Customer the agent must belong to. */
  tenantId: z.uuid(),
  /** Strictly growing per agent, without gaps. */
  sequence: z.int().positive(),
  class: CommandClass,
  issuedAt: Instant,
  notBefore: Instant,
  expiresAt: Instant,
  command: AgentCommand,
})
export type CommandPayload = z.infer<typeof CommandPayload>
