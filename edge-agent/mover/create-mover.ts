import { availableParallelism } from 'node:os'
import type { BlockEndpoint } from '../block/block-endpoint.ts'
import type { BlockOpenerUrls } from '../block/block-opener.ts'
import type { BlockSink } from '../block/block-sink.ts'
import type { BlockSource } from '../block/block-source.ts'
import { BackupJournal } from './backup-journal.ts'
import { copyBackup } from './copy-backup.ts'
import { copyDisk } from './copy-disk.ts'
import { type CopyEnvironment, createThreadEnvironment } from './copy-environment.ts'
import { copyRestore } from './copy-restore.ts'
import { type CopyCheckpoint, type CopyOptions, type CopyProgress, type Mover, noCheckpoint } from './mover.ts'
import { areWritesLost, isLocalConnectionLost, isThreadEnded, withRewinds } from './rewind.ts'
import { SLAB_BYTES } from './slabs/run-buffer.ts'
import { copyInLanes, lanesFor } from './threads/copy-in-lanes.ts'
import { toBackupTask, toDiskTask, toRestoreTask } from './threads/endpoint-task.ts'
import { MoverPool } from './threads/mover-pool.ts'
import type { DiskRole, MoverTask } from './threads/mover-task.ts'
import { WorkerFailure } from './threads/mover-thread.ts'

const THREADS_MAX = 8
const MEMORY_BYTES = 1024 * 1024 * 1024
/** What copies on the mover's own thread may use of the budget. */
const OWN_SHARE = 1 / 16
const OWN_BYTES_MIN = 4 * 1024 * 1024

export interface MoverOptions {
  /** Worker threads. Default: as many as the machine has processors, at most 8. */
  readonly threadsMax?: number
  /** Buffers of all copies together, in all threads. Default 1 GiB. At least 8 MiB, and 4 MiB a thread. */
  readonly memoryBytes?: number
  /** Modules that open disks of other kinds than NBD in the threads, by name (block-opener.ts). Others are copied here. */
  readonly openers?: BlockOpenerUrls
  /** For tests: what the threads run. */
  readonly workerUrl?: URL
}

/** Worker threads where nobody says how many. */
export function defaultThreadsMax(): number {
  return Math.min(THREADS_MAX, availableParallelism())
}

/** The mover of this process. Copies of disks without an address run on the thread that asked. */
export function createMover(options: MoverOptions = {}): Mover {
  const { threadsMax = defaultThreadsMax(), memoryBytes = MEMORY_BYTES, workerUrl, openers = {} } = options
  const ownBytes = wholeSlabs(Math.max(OWN_BYTES_MIN, memoryBytes * OWN_SHARE))
  const memoryBytesPerThread = wholeSlabs((memoryBytes - ownBytes) / threadsMax)
  const pool = new MoverPool({
    threadsMax,
    memoryBytesPerThread,
    openers,
    ...(workerUrl === undefined ? {} : { workerUrl }),
  })
  const environment = createThreadEnvironment(new SharedArrayBuffer(ownBytes))
  const here = async <T>(copy: (own: CopyEnvironment) => Promise<T>): Promise<T> => {
    using held = new DisposableStack()
    return await copy({ ...environment, held })
  }
  return {
    copyBackup: async (task, call) => {
      const journal = BackupJournal.of(task.chunkIds, task.mode !== 'full')
      const inThread = toBackupTask(task, { openers, journal })
      return await rewinding({ pool, task, inThread }, call, async (resumeFrom, again) => {
        return await here(async (own) => await copyBackup({ ...task, journal, resumeFrom }, again, own))
      })
    },
    copyRestore: async (task, call) => {
      return await rewinding(
        { pool, task, inThread: toRestoreTask(task, openers) },
        call,
        async (resumeFrom, again) => await here(async (own) => await copyRestore({ ...task, resumeFrom }, again, own)),
      )
    },
    copyDisk: async (task, call) => {
      return await rewinding(
        { pool, task, inThread: toDiskTask(task, openers) },
        call,
        async (resumeFrom, again) => await here(async (own) => await copyDisk({ ...task, resumeFrom }, again, own)),
      )
    },
    [Symbol.asyncDispose]: async () => await pool[Symbol.asyncDispose](),
  }
}

type Disks = { readonly source: BlockSource } & { readonly [Role in DiskRole]?: BlockSource | BlockSink }

interface RewindingCopy {
  readonly pool: MoverPool
  readonly task: Disks & { readonly resumeFrom?: CopyCheckpoint }
  /** The same for a thread; undefined: it is copied here. */
  readonly inThread: MoverTask | undefined
}

/** A copy, in a thread or here, that goes back to its last checkpoint after a loss. Threads open its disks anew. */
async function rewinding(
  { pool, task, inThread }: RewindingCopy,
  options: CopyOptions,
  copyHere: (from: CopyCheckpoint, options: CopyOptions) => Promise<CopyProgress>,
): Promise<CopyProgress> {
  const { resumeFrom: from = noCheckpoint } = task
  if (inThread === undefined) return await withRewinds({ ...options, from, maySurvive: areWritesLost }, copyHere)
  const { sizeBytes } = task.source
  try {
    const maySurvive = (error: unknown): boolean => maySurviveIn(inThread, error)
    return await withRewinds({ ...options, from, maySurvive }, async (resumeFrom, again) => {
      return await copyInLanes(pool, { ...inThread, resumeFrom }, { count: lanesOf(pool, task), sizeBytes }, again)
    })
  } catch (error) {
    if (!(error instanceof WorkerFailure)) throw error
    const disk = error.role === undefined ? undefined : task[error.role]
    throw disk?.translateError?.(error.failure) ?? error.failure
  }
}

function maySurviveIn(task: MoverTask, error: unknown): boolean {
  if (!(error instanceof WorkerFailure)) return isThreadEnded(error)
  const { failure, role } = error
  const endpoints: { readonly [Role in DiskRole]?: BlockEndpoint | undefined } = task
  return areWritesLost(failure) || isLocalConnectionLost(failure, role && endpoints[role])
}

function lanesOf(pool: MoverPool, { source, sink, base }: Disks): number {
  const openersMax = Math.min(
    ...[source, sink, base].map((disk) => (disk === undefined ? Infinity : (disk.openersMax ?? 1))),
  )
  return lanesFor(pool, { sizeBytes: source.sizeBytes, openersMax })
}

function wholeSlabs(bytes: number): number {
  return Math.max(1, Math.floor(bytes / SLAB_BYTES)) * SLAB_BYTES
}
