import { ErrorReport } from '@sendense/shared/contracts/error-report.ts'
import { ByteCount, VmName } from '@sendense/shared/contracts/identifiers.ts'
import { z } from 'zod'
import { ScratchFile } from '../platforms/kvm/session-names.ts'
import { KvmDiskId, VmConfig } from '../platforms/kvm/vm-config.ts'
import { vmServices } from '../platforms/kvm/vm-host.ts'

/** Versions of the protocol that this build speaks; FORMAT.md says what each is. */
export const PROTOCOL_MIN = 1
export const PROTOCOL_MAX = 1

/** Of one line from the agent, its line end left out. */
export const REQUEST_MAX_BYTES = 64 * 1024
/** Of one line from the capture agent. */
export const ANSWER_MAX_BYTES = 1024 * 1024
/** Requests of one connection that are worked on at once; more are read when one is answered. */
export const IN_FLIGHT_MAX = 32
/** VMs in one answer: with their configurations they fit into one line. */
export const VMS_A_PAGE_MAX = 50

/** The longest that a guest may be asked to stay frozen. */
const FREEZE_MAX_MS = 60_000
const SCRATCH_FILES_MAX = 256
/** The longest that a guest may be waited for to come up. */
const BOOT_MAX_MS = 60 * 60_000
const DISKS_MAX = 24
const CREATIONS_MAX = 1000
const Port = z.int().min(1).max(65_535)
const Nothing = z.strictObject({})

export const HostedVmView = z.strictObject({
  config: VmConfig,
  running: z.boolean(),
  scratchFiles: z.array(z.string().max(255)).max(SCRATCH_FILES_MAX),
})

/** First line from the capture agent, before it is asked anything. */
export const Greeting = z.object({
  service: z.literal('sendense-capture'),
  protocols: z.object({ min: z.int().positive(), max: z.int().positive() }),
  version: z.string().max(64),
})
export type Greeting = z.infer<typeof Greeting>

/** Who asks: the edge agent, which holds leases and freezes, or a person on the host who only looks. */
export const Role = z.enum(['agent', 'status'])
export type Role = z.infer<typeof Role>

const ServiceName = z.enum(vmServices)
const OneVm = z.strictObject({ vmId: z.uuid() })
const OneCreation = z.strictObject({ creationId: z.uuid() })
export const Lease = z.strictObject({ port: Port, vmId: z.uuid(), service: ServiceName })

const CaptureStatus = z.strictObject({
  version: z.string().max(64),
  host: z.string().max(255),
  startedAt: z.iso.datetime(),
  /** Connections of the edge agent. */
  agents: z.int().nonnegative(),
  tunnel: z.strictObject({
    state: z.enum(['connected', 'waiting']),
    tunnels: z.int().nonnegative(),
    tunnelsWanted: z.int().nonnegative(),
    lastError: z.strictObject({ code: z.string(), message: z.string(), at: z.string() }).optional(),
  }),
  vms: z.strictObject({ listed: z.int().nonnegative(), running: z.int().nonnegative() }),
  leases: z.array(Lease).max(1000),
})
export type CaptureStatus = z.infer<typeof CaptureStatus>

/** Every request: what it takes, what it answers, and how long its answer may take. */
export const captureMethods = {
  'hello': { params: z.strictObject({ protocol: z.int(), role: Role }), result: Nothing, timeoutMs: 10_000 },
  'status': { params: Nothing, result: CaptureStatus, timeoutMs: 10_000 },
  'list-vms': {
    params: z.strictObject({ after: z.string().max(255).optional() }),
    result: z.strictObject({ vms: z.array(HostedVmView).max(VMS_A_PAGE_MAX), next: z.string().max(255).optional() }),
    timeoutMs: 30_000,
  },
  'find-vm': { params: OneVm, result: z.strictObject({ vm: HostedVmView.optional() }), timeoutMs: 30_000 },
  'read-disk-size': {
    params: OneVm.extend({ diskId: KvmDiskId }),
    result: z.strictObject({ sizeBytes: ByteCount }),
    timeoutMs: 30_000,
  },
  'create-scratch': {
    params: OneVm.extend({ file: ScratchFile, sizeBytes: ByteCount }),
    result: z.strictObject({ path: z.string().max(4096) }),
    timeoutMs: 60_000,
  },
  'remove-scratch': { params: OneVm, result: Nothing, timeoutMs: 60_000 },
  'measure-space': {
    params: OneVm,
    result: z.strictObject({ dir: z.string().max(4096), freeBytes: ByteCount, scratchBytes: ByteCount }),
    timeoutMs: 30_000,
  },
  'open-service': {
    /** `port`: held before, asked for again after the connection was lost. */
    params: OneVm.extend({ service: ServiceName, port: Port.optional() }),
    result: z.strictObject({ port: Port, hostPath: z.string().max(107) }),
    timeoutMs: 30_000,
  },
  'close-service': { params: z.strictObject({ port: Port }), result: Nothing, timeoutMs: 30_000 },
  'freeze': {
    params: OneVm.extend({ maxMs: z.int().min(1).max(FREEZE_MAX_MS) }),
    result: z.strictObject({ frozen: z.boolean() }),
    timeoutMs: 180_000,
  },
  'thaw': {
    params: OneVm.extend({ attemptsMax: z.int().min(1).max(100).optional() }),
    result: z.strictObject({ fileSystems: z.int().nonnegative() }),
    timeoutMs: 180_000,
  },
  'create-vm': {
    params: OneCreation.extend({
      name: VmName,
      memoryBytes: ByteCount,
      cpuCount: z.int().positive(),
      disks: z
        .array(z.strictObject({ diskId: KvmDiskId, sizeBytes: ByteCount }))
        .min(1)
        .max(DISKS_MAX),
    }),
    result: z.strictObject({
      port: Port,
      exports: z.array(z.strictObject({ diskId: KvmDiskId, exportName: z.string().max(4096) })).max(DISKS_MAX),
    }),
    timeoutMs: 120_000,
  },
  'finish-vm': { params: OneCreation, result: OneVm, timeoutMs: 15 * 60_000 },
  'discard-vm': { params: OneCreation, result: Nothing, timeoutMs: 60_000 },
  'find-created': { params: OneCreation, result: OneVm.partial(), timeoutMs: 30_000 },
  'reconcile-vms': {
    params: z.strictObject({ keep: z.array(z.uuid()).max(CREATIONS_MAX) }),
    result: Nothing,
    timeoutMs: 120_000,
  },
  'start-vm': {
    params: OneVm.extend({ timeoutMs: z.int().min(1).max(BOOT_MAX_MS) }),
    result: z.strictObject({
      by: z.enum(['guest-agent', 'console']),
      evidence: z.string().max(10_000),
      secondsToUp: z.number().nonnegative(),
    }),
    /** The last line of the guest's console, now and then. */
    note: z.strictObject({ console: z.string().max(1000) }),
    timeoutMs: BOOT_MAX_MS + 60_000,
  },
  'stop-vm': { params: OneVm, result: Nothing, timeoutMs: 120_000 },
  'delete-vm': { params: OneVm, result: Nothing, timeoutMs: 120_000 },
} as const satisfies Record<string, { params: z.ZodType; result: z.ZodType; note?: z.ZodType; timeoutMs: number }>

export type CaptureMethod = keyof typeof captureMethods
export type ParamsOf<M extends CaptureMethod> = z.infer<(typeof captureMethods)[M]['params']>
export type ResultOf<M extends CaptureMethod> = z.infer<(typeof captureMethods)[M]['result']>

/** One line from the agent. Its parameters are parsed once its method is known. */
export const Request = z.strictObject({
  id: z.int().nonnegative(),
  method: z.string().max(64),
  params: z.unknown(),
})

/** One line from the capture agent, after its greeting. Notes come before the answer, to requests that have them. */
export const Answer = z.union([
  z.strictObject({ id: z.int().nonnegative(), note: z.unknown() }),
  z.strictObject({ id: z.int().nonnegative(), result: z.unknown() }),
  z.strictObject({ id: z.int().nonnegative(), error: ErrorReport }),
])
