import { BackupJournal, type JournalMemory } from '../backup-journal.ts'
import { ChunkIds } from '../chunk-ids.ts'
import { copyBackup } from '../copy-backup.ts'
import { copyDisk } from '../copy-disk.ts'
import type { CopyEnvironment, ThreadEnvironment } from '../copy-environment.ts'
import { copyRestore } from '../copy-restore.ts'
import type { CopyOptions, CopyProgress } from '../mover.ts'
import { SharedThrottle } from '../rate/shared-throttle.ts'
import { BlockOpeners } from './block-openers.ts'
import type { ErrorRoles } from './error-roles.ts'
import type { MoverTask } from './mover-task.ts'
import { TaskDisks } from './task-disks.ts'

interface TaskOptions extends CopyOptions {
  readonly roles: ErrorRoles
  readonly environment: ThreadEnvironment
  /** Absent: only NBD exports can be opened. */
  readonly openers?: BlockOpeners
}

type TaskOf<K extends MoverTask['kind']> = Extract<MoverTask, { kind: K }>

/** Opens the disks of a task, copies, and closes them. Rejects as Mover does; `roles` knows whose error it was. */
export async function runMoverTask(task: MoverTask, options: TaskOptions): Promise<CopyProgress> {
  switch (task.kind) {
    case 'backup':
      return await runBackup(task, options)
    case 'restore':
      return await runRestore(task, options)
    case 'disk':
      return await runDisk(task, options)
    default:
      return task satisfies never
  }
}

async function runBackup(task: TaskOf<'backup'>, options: TaskOptions): Promise<CopyProgress> {
  using held = new DisposableStack()
  await using disks = disksOf(options)
  const { mode, idKey } = task
  const source = await disks.openSource('source', task.source)
  const sink = await disks.openSink(task.sink)
  const base = task.base === undefined ? {} : { base: await disks.openSource('base', task.base) }
  const chunkIds = idsOf(task)
  const journal = new BackupJournal(chunkIds, journalOf(task))
  const own = { mode, source, sink, ...base, chunkIds, idKey, journal }
  return await copyBackup({ ...ownedOf(task), ...own }, options, environmentOf(options, held))
}

async function runRestore(task: TaskOf<'restore'>, options: TaskOptions): Promise<CopyProgress> {
  using held = new DisposableStack()
  await using disks = disksOf(options)
  const source = await disks.openSource('source', task.source)
  const sink = task.sink === undefined ? {} : { sink: await disks.openSink(task.sink) }
  const own = { source, ...sink, chunkIds: idsOf(task), idKey: task.idKey }
  return await copyRestore({ ...ownedOf(task), ...own }, options, environmentOf(options, held))
}

async function runDisk(task: TaskOf<'disk'>, options: TaskOptions): Promise<CopyProgress> {
  using held = new DisposableStack()
  await using disks = disksOf(options)
  const { sinkIsZero, detectZeroes, dirtyOnly } = task
  const source = await disks.openSource('source', task.source)
  const sink = task.sink === undefined ? {} : { sink: await disks.openSink(task.sink) }
  const how = {
    ...(sinkIsZero === undefined ? {} : { sinkIsZero }),
    ...(detectZeroes === undefined ? {} : { detectZeroes }),
    ...(dirtyOnly === undefined ? {} : { dirtyOnly }),
  }
  return await copyDisk({ ...ownedOf(task), ...how, source, ...sink }, options, environmentOf(options, held))
}

function disksOf({ roles, openers = new BlockOpeners(), signal }: TaskOptions): TaskDisks {
  return new TaskDisks({ roles, openers, signal })
}

/** @param held outlives the disks: what they still send from the copy's memory belongs to nobody else */
function environmentOf({ environment }: TaskOptions, held: DisposableStack): CopyEnvironment {
  return { ...environment, held }
}

function idsOf({ sizeBytes, chunkSizeBytes, chunkIds }: TaskOf<'backup' | 'restore'>): ChunkIds {
  return new ChunkIds(sizeBytes, chunkSizeBytes, chunkIds)
}

function journalOf({ journal: { marks, parentIds } }: TaskOf<'backup'>): JournalMemory {
  return parentIds === undefined ? { marks } : { marks, parentIds }
}

function ownedOf(task: MoverTask) {
  const { diskId, owner, throttles, bufferBytesMax, lane, resumeFrom, checkpointEveryBytes } = task
  return {
    ...(diskId === undefined ? {} : { diskId }),
    ...(owner === undefined ? {} : { owner }),
    ...(bufferBytesMax === undefined ? {} : { bufferBytesMax }),
    ...(lane === undefined ? {} : { lane }),
    ...(resumeFrom === undefined ? {} : { resumeFrom }),
    ...(checkpointEveryBytes === undefined ? {} : { checkpointEveryBytes }),
    throttles: throttles.map((memory) => new SharedThrottle(memory)),
  }
}
