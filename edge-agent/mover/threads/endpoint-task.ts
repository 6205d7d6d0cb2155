import { type AnyCopyTask, type BackupCopyTask, type DiskCopyTask, type RestoreCopyTask } from '../mover.ts'
import { SharedThrottle } from '../rate/shared-throttle.ts'
import type { MoverTask } from './mover-task.ts'

type TaskOf<K extends MoverTask['kind']> = Extract<MoverTask, { kind: K }>

/** The task as a thread can do it; undefined where a disk has no address, or a throttle is not shared memory. */
export function toBackupTask(task: BackupCopyTask): TaskOf<'backup'> | undefined {
  const { mode, source, sink, base } = task
  const shared = sharedFields(task)
  if (shared === undefined || source.endpoint === undefined || sink.endpoint === undefined) return undefined
  if (base !== undefined && base.endpoint === undefined) return undefined
  const below = base?.endpoint === undefined ? {} : { base: base.endpoint }
  const disks = { source: source.endpoint, sink: sink.endpoint, ...below }
  return { kind: 'backup', mode, ...disks, ...shared, ...idFields(task) }
}

/** As toBackupTask. */
export function toRestoreTask(task: RestoreCopyTask): TaskOf<'restore'> | undefined {
  const disks = endpointsOf(task)
  const shared = sharedFields(task)
  if (disks === undefined || shared === undefined) return undefined
  return { kind: 'restore', ...disks, ...shared, ...resumeFields(task), ...idFields(task) }
}

/** As toBackupTask. */
export function toDiskTask(task: DiskCopyTask): TaskOf<'disk'> | undefined {
  const { sinkIsZero, detectZeroes, dirtyOnly } = task
  const disks = endpointsOf(task)
  const shared = sharedFields(task)
  if (disks === undefined || shared === undefined) return undefined
  return {
    kind: 'disk',
    ...disks,
    ...(sinkIsZero === undefined ? {} : { sinkIsZero }),
    ...(detectZeroes === undefined ? {} : { detectZeroes }),
    ...(dirtyOnly === undefined ? {} : { dirtyOnly }),
    ...shared,
    ...resumeFields(task),
  }
}

function endpointsOf({ source, sink }: RestoreCopyTask | DiskCopyTask) {
  if (source.endpoint === undefined) return undefined
  if (sink === undefined) return { source: source.endpoint }
  return sink.endpoint === undefined ? undefined : { source: source.endpoint, sink: sink.endpoint }
}

function sharedFields({ diskId, owner, throttles = [], bufferBytesMax }: AnyCopyTask) {
  const memories: SharedArrayBuffer[] = []
  for (const throttle of throttles) {
    if (!(throttle instanceof SharedThrottle)) return undefined
    memories.push(throttle.memory)
  }
  return {
    ...(diskId === undefined ? {} : { diskId }),
    ...(owner === undefined ? {} : { owner }),
    ...(bufferBytesMax === undefined ? {} : { bufferBytesMax }),
    throttles: memories,
  }
}

function resumeFields({ resumeFrom, checkpointEveryBytes }: RestoreCopyTask | DiskCopyTask) {
  return {
    ...(resumeFrom === undefined ? {} : { resumeFrom }),
    ...(checkpointEveryBytes === undefined ? {} : { checkpointEveryBytes }),
  }
}

function idFields({ chunkIds, idKey }: RestoreCopyTask) {
  const { sizeBytes, chunkSizeBytes, bytes } = chunkIds
  return { sizeBytes, chunkSizeBytes, chunkIds: bytes.buffer, idKey: Uint8Array.from(idKey) }
}
