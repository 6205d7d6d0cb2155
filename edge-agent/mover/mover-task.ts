import { backupModes } from '@sendense/shared/domain/backup-reason.ts'
import { errorCodeList } from '@sendense/shared/errors/error-codes.ts'
import { z } from 'zod'
import { BlockEndpoint } from '../block/block-endpoint.ts'
import { ID_KEY_BYTES } from './chunk-hash.ts'

const Ids = {
  sizeBytes: z.int().nonnegative(),
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
    readRateMaxBytesPerSecond: z.number().positive().optional(),
    ...Ids,
  }),
  z.strictObject({ kind: z.literal('restore'), source: BlockEndpoint, sink: BlockEndpoint.optional(), ...Ids }),
])
export type MoverTask = z.infer<typeof MoverTask>

/** What a worker is told: one copy at a time, and to end it early. */
export const WorkerRequest = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('copy'), task: MoverTask }),
  z.strictObject({ type: z.literal('cancel') }),
])
export type WorkerRequest = z.infer<typeof WorkerRequest>

const Progress = z.strictObject({
  doneBytes: z.number(),
  plannedBytes: z.number(),
  readBytes: z.number(),
  baseReadBytes: z.number(),
  writtenBytes: z.number(),
  zeroedBytes: z.number(),
})

/** Whose error it is: its owner may have a code of its own for it. */
export const diskRoles = ['source', 'sink', 'base'] as const
export type DiskRole = (typeof diskRoles)[number]

/** What a worker says of its copy. `done` and `failed` end it. */
export const WorkerReport = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('progress'), progress: Progress }),
  z.strictObject({ type: z.literal('done'), progress: Progress }),
  z.strictObject({
    type: z.literal('failed'),
    code: z.enum(errorCodeList),
    message: z.string(),
    details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
    role: z.enum(diskRoles).optional(),
  }),
])
export type WorkerReport = z.infer<typeof WorkerReport>
