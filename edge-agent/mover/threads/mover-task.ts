import { backupModes } from '@sendense/shared/domain/backup-reason.ts'
import { errorCodeList } from '@sendense/shared/errors/error-codes.ts'
import { z } from 'zod'
import { BlockEndpoint } from '../../block/block-endpoint.ts'
import { BlockOpenerUrls } from '../../block/block-opener.ts'
import { ID_KEY_BYTES } from '../chunk-hash.ts'
import { copyStates } from '../mover.ts'

const Count = z.int().nonnegative()
const Checkpoint = z.strictObject({ offsetBytes: Count, sizeBytes: Count, doneBytes: Count, doneExtents: Count })

const Any = {
  diskId: z.string().optional(),
  owner: z.strictObject({ tenantId: z.string(), jobId: z.string() }).optional(),
  /** Of SharedThrottle. */
  throttles: z.array(z.instanceof(SharedArrayBuffer)),
  bufferBytesMax: z.int().positive().optional(),
  resumeFrom: Checkpoint.optional(),
  checkpointEveryBytes: z.int().positive().optional(),
  lane: z
    .strictObject({ index: Count, count: z.int().positive(), claims: z.instanceof(SharedArrayBuffer).optional() })
    .optional(),
}
const Ids = {
  sizeBytes: Count,
  chunkSizeBytes: z.int().positive(),
  /** Shared with the thread that asked: filled in place. */
  chunkIds: z.instanceof(SharedArrayBuffer),
  idKey: z.instanceof(Uint8Array).refine((key) => key.length === ID_KEY_BYTES),
}

/** A copy between disks that the worker opens by itself. */
export const MoverTask = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('backup'),
    mode: z.enum(backupModes),
    source: BlockEndpoint,
    sink: BlockEndpoint,
    base: BlockEndpoint.optional(),
    /** Of a BackupJournal: shared with all attempts. */
    journal: z.strictObject({
      marks: z.instanceof(SharedArrayBuffer),
      parentIds: z.instanceof(SharedArrayBuffer).optional(),
    }),
    ...Any,
    ...Ids,
  }),
  z.strictObject({
    kind: z.literal('restore'),
    source: BlockEndpoint,
    sink: BlockEndpoint.optional(),
    ...Any,
    ...Ids,
  }),
  z.strictObject({
    kind: z.literal('disk'),
    source: BlockEndpoint,
    sink: BlockEndpoint.optional(),
    sinkIsZero: z.boolean().optional(),
    detectZeroes: z.boolean().optional(),
    dirtyOnly: z.boolean().optional(),
    ...Any,
  }),
])
export type MoverTask = z.infer<typeof MoverTask>

/** What a worker is given when it starts. */
export const WorkerData = z.strictObject({
  /** Its share of the memory budget. */
  memory: z.instanceof(SharedArrayBuffer),
  openers: BlockOpenerUrls,
})
export type WorkerData = z.infer<typeof WorkerData>

const copyId = z.int().positive()

/** What a worker is told: any number of copies at once, each by its number. */
export const WorkerRequest = z.discriminatedUnion('type', [
  // Parsed by itself, so that a task that is wrong fails alone.
  z.strictObject({ type: z.literal('copy'), copyId, task: z.unknown(), isPaused: z.boolean() }),
  z.strictObject({ type: z.literal('cancel'), copyId }),
  z.strictObject({ type: z.literal('pause'), copyId }),
  z.strictObject({ type: z.literal('resume'), copyId }),
])
export type WorkerRequest = z.infer<typeof WorkerRequest>

const Progress = z.strictObject({
  state: z.enum(copyStates),
  doneBytes: Count,
  plannedBytes: Count,
  doneExtents: Count,
  plannedExtents: Count,
  isPlanComplete: z.boolean(),
  readBytes: Count,
  baseReadBytes: Count,
  writtenBytes: Count,
  zeroedBytes: Count,
  retriedReads: Count,
  rewinds: Count,
  checkpoint: Checkpoint,
  bytesPerSecond: Count,
})

/** Whose error it is: its owner may have a code of its own for it. */
export const diskRoles = ['source', 'sink', 'base'] as const
export type DiskRole = (typeof diskRoles)[number]

/** What a worker says of a copy. `done` and `failed` end it. */
export const WorkerReport = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('progress'), copyId, progress: Progress }),
  z.strictObject({ type: z.literal('done'), copyId, progress: Progress }),
  z.strictObject({
    type: z.literal('failed'),
    copyId,
    code: z.enum(errorCodeList),
    message: z.string(),
    details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
    role: z.enum(diskRoles).optional(),
  }),
])
export type WorkerReport = z.infer<typeof WorkerReport>
