import type { BlockSink } from '../block/block-sink.ts'
import type { BlockSource } from '../block/block-source.ts'
import { copyBackup } from './copy-backup.ts'
import { copyRestore } from './copy-restore.ts'
import { MoverPool } from './mover-pool.ts'
import type { DiskRole, MoverTask } from './mover-task.ts'
import { WorkerFailure } from './mover-thread.ts'
import type { BackupCopyTask, CopyOptions, CopyProgress, Mover, RestoreCopyTask } from './mover.ts'

export interface MoverOptions {
  /** Worker threads at most; more copies than that wait their turn. */
  readonly workersMax: number
}

/** The mover of this process. Copies that cannot run in a thread do not count against `workersMax`. */
export function createMover({ workersMax }: MoverOptions): Mover {
  const pool = new MoverPool(workersMax)
  return {
    copyBackup: async (task, options) => {
      const threadTask = toBackupTask(task)
      if (threadTask === undefined) return await copyBackup(task, options)
      return await copyInThread(pool, threadTask, task, options)
    },
    copyRestore: async (task, options) => {
      const threadTask = toRestoreTask(task)
      if (threadTask === undefined) return await copyRestore(task, options)
      return await copyInThread(pool, threadTask, task, options)
    },
    [Symbol.asyncDispose]: async () => await pool[Symbol.asyncDispose](),
  }
}

function toBackupTask(task: BackupCopyTask): MoverTask | undefined {
  const { mode, source, sink, base, readRateMaxBytesPerSecond } = task
  if (source.endpoint === undefined || sink.endpoint === undefined) return undefined
  if (base !== undefined && base.endpoint === undefined) return undefined
  return {
    kind: 'backup',
    mode,
    source: source.endpoint,
    sink: sink.endpoint,
    ...(base?.endpoint === undefined ? {} : { base: base.endpoint }),
    ...(readRateMaxBytesPerSecond === undefined ? {} : { readRateMaxBytesPerSecond }),
    ...idFields(task),
  }
}

function toRestoreTask(task: RestoreCopyTask): MoverTask | undefined {
  const { source, sink } = task
  if (source.endpoint === undefined) return undefined
  if (sink === undefined) return { kind: 'restore', source: source.endpoint, ...idFields(task) }
  if (sink.endpoint === undefined) return undefined
  return { kind: 'restore', source: source.endpoint, sink: sink.endpoint, ...idFields(task) }
}

function idFields({ chunkIds, idKey }: RestoreCopyTask) {
  const { sizeBytes, chunkSizeBytes, bytes } = chunkIds
  return { sizeBytes, chunkSizeBytes, chunkIds: bytes.buffer, idKey: Uint8Array.from(idKey) }
}

type Disks = { readonly [Role in DiskRole]?: BlockSource | BlockSink }

async function copyInThread(
  pool: MoverPool,
  task: MoverTask,
  disks: Disks,
  options: CopyOptions,
): Promise<CopyProgress> {
  try {
    return await pool.copy(task, options)
  } catch (error) {
    if (!(error instanceof WorkerFailure)) throw error
    const disk = error.role === undefined ? undefined : disks[error.role]
    throw disk?.translateError?.(error.failure) ?? error.failure
  }
}
