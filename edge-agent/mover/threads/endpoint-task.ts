import type { BlockEndpoint } from '../../block/block-endpoint.ts'
import type { BlockOpenerUrls } from '../../block/block-opener.ts'
import type { BlockSink } from '../../block/block-sink.ts'
import type { BlockSource } from '../../block/block-source.ts'
import type { BackupJournal } from '../backup-journal.ts'
import { type AnyCopyTask, type BackupCopyTask, type DiskCopyTask, type RestoreCopyTask } from '../mover.ts'
import { SharedThrottle } from '../rate/shared-throttle.ts'
import type { MoverTask } from './mover-task.ts'

type TaskOf<K extends MoverTask['kind']> = Extract<MoverTask, { kind: K }>

/** The task as a thread can do it; undefined where a disk has no address, or a throttle is not shared memory. */
export function toBackupTask(
  task: BackupCopyTask,
  { openers, journal }: { readonly openers: BlockOpenerUrls; readonly journal: BackupJournal },
): TaskOf<'backup'> | undefined {
  const { mode, source, sink, base } = task
  const shared = sharedFields(task)
  const endpoints = { source: endpointOf(source, openers), sink: endpointOf(sink, openers) }
  if (shared === undefined || endpoints.source === undefined || endpoints.sink === undefined) return undefined
  const baseEndpoint = base === undefined ? undefined : endpointOf(base, openers)
  if (base !== undefined && baseEndpoint === undefined) return undefined
  const below = baseEndpoint === undefined ? {} : { base: baseEndpoint }
  const disks = { source: endpoints.source, sink: endpoints.sink, ...below }
  return { kind: 'backup', mode, ...disks, journal: journal.memory, ...shared, ...idFields(task) }
}

/** As toBackupTask. */
export function toRestoreTask(task: RestoreCopyTask, openers: BlockOpenerUrls): TaskOf<'restore'> | undefined {
  const disks = endpointsOf(task, openers)
  const shared = sharedFields(task)
  if (disks === undefined || shared === undefined) return undefined
  return { kind: 'restore', ...disks, ...shared, ...idFields(task) }
}

/** As toBackupTask. */
export function toDiskTask(task: DiskCopyTask, openers: BlockOpenerUrls): TaskOf<'disk'> | undefined {
  const { sinkIsZero, detectZeroes, dirtyOnly } = task
  const disks = endpointsOf(task, openers)
  const shared = sharedFields(task)
  if (disks === undefined || shared === undefined) return undefined
  return {
    kind: 'disk',
    ...disks,
    ...(sinkIsZero === undefined ? {} : { sinkIsZero }),
    ...(detectZeroes === undefined ? {} : { detectZeroes }),
    ...(dirtyOnly === undefined ? {} : { dirtyOnly }),
    ...shared,
  }
}

function endpointsOf({ source, sink }: RestoreCopyTask | DiskCopyTask, openers: BlockOpenerUrls) {
  const from = endpointOf(source, openers)
  if (from === undefined) return undefined
  if (sink === undefined) return { source: from }
  const to = endpointOf(sink, openers)
  return to === undefined ? undefined : { source: from, sink: to }
}

/** The disk's address, if a thread can open it. */
function endpointOf({ endpoint }: BlockSource | BlockSink, openers: BlockOpenerUrls): BlockEndpoint | undefined {
  if (endpoint?.kind === 'opener' && openers[endpoint.opener] === undefined) return undefined
  return endpoint
}

function sharedFields({ diskId, owner, throttles = [], bufferBytesMax, checkpointEveryBytes }: AnyCopyTask) {
  const memories: SharedArrayBuffer[] = []
  for (const throttle of throttles) {
    if (!(throttle instanceof SharedThrottle)) return undefined
    memories.push(throttle.memory)
  }
  return {
    ...(diskId === undefined ? {} : { diskId }),
    ...(owner === undefined ? {} : { owner }),
    ...(bufferBytesMax === undefined ? {} : { bufferBytesMax }),
    ...(checkpointEveryBytes === undefined ? {} : { checkpointEveryBytes }),
    throttles: memories,
  }
}

function idFields({ chunkIds, idKey }: RestoreCopyTask) {
  const { sizeBytes, chunkSizeBytes, bytes } = chunkIds
  return { sizeBytes, chunkSizeBytes, chunkIds: bytes.buffer, idKey: Uint8Array.from(idKey) }
}
