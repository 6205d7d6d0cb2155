import { ChunkIds } from '../chunk-ids.ts'
import { copyBackup } from '../copy-backup.ts'
import { copyDisk } from '../copy-disk.ts'
import type { CopyEnvironment, ThreadEnvironment } from '../copy-environment.ts'
import { copyRestore } from '../copy-restore.ts'
import { type CopyCheckpoint, type CopyOptions, type CopyProgress, noCheckpoint } from '../mover.ts'
import { SharedThrottle } from '../rate/shared-throttle.ts'
import { areWritesLost, withRewinds } from '../rewind.ts'
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
      return await rewinding(task, options, async (resumeFrom, call) => await runRestore(task, resumeFrom, call))
    case 'disk':
      return await rewinding(task, options, async (resumeFrom, call) => await runDisk(task, resumeFrom, call))
    default:
      return task satisfies never
  }
}

/** Opens the disks anew for each attempt: after writes got lost the connections are of no more use. */
async function rewinding(
  { resumeFrom = noCheckpoint }: TaskOf<'restore' | 'disk'>,
  { roles, environment, openers = new BlockOpeners(), ...options }: TaskOptions,
  attempt: (resumeFrom: CopyCheckpoint, options: TaskOptions) => Promise<CopyProgress>,
): Promise<CopyProgress> {
  return await withRewinds({ ...options, from: resumeFrom, maySurvive: areWritesLost }, async (from, call) => {
    return await attempt(from, { ...call, roles, environment, openers })
  })
}

async function runBackup(task: TaskOf<'backup'>, options: TaskOptions): Promise<CopyProgress> {
  using held = new DisposableStack()
  await using disks = disksOf(options)
  const { mode, idKey } = task
  const source = await disks.openSource('source', task.source)
  const sink = await disks.openSink(task.sink)
  const base = task.base === undefined ? {} : { base: await disks.openSource('base', task.base) }
  const own = { mode, source, sink, ...base, chunkIds: idsOf(task), idKey }
  return await copyBackup({ ...ownedOf(task), ...own }, options, environmentOf(options, held))
}

async function runRestore(
  task: TaskOf<'restore'>,
  resumeFrom: CopyCheckpoint,
  options: TaskOptions,
): Promise<CopyProgress> {
  using held = new DisposableStack()
  await using disks = disksOf(options)
  const source = await disks.openSource('source', task.source)
  const sink = task.sink === undefined ? {} : { sink: await disks.openSink(task.sink) }
  const own = { source, ...sink, chunkIds: idsOf(task), idKey: task.idKey }
  return await copyRestore({ ...resumableOf(task, resumeFrom), ...own }, options, environmentOf(options, held))
}

async function runDisk(task: TaskOf<'disk'>, resumeFrom: CopyCheckpoint, options: TaskOptions): Promise<CopyProgress> {
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
  return await copyDisk(
    { ...resumableOf(task, resumeFrom), ...how, source, ...sink },
    options,
    environmentOf(options, held),
  )
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

function ownedOf({ diskId, owner, throttles, bufferBytesMax, lane }: MoverTask) {
  return {
    ...(diskId === undefined ? {} : { diskId }),
    ...(owner === undefined ? {} : { owner }),
    ...(bufferBytesMax === undefined ? {} : { bufferBytesMax }),
    ...(lane === undefined ? {} : { lane }),
    throttles: throttles.map((memory) => new SharedThrottle(memory)),
  }
}

function resumableOf(task: TaskOf<'restore' | 'disk'>, resumeFrom: CopyCheckpoint) {
  const { checkpointEveryBytes } = task
  return { ...ownedOf(task), resumeFrom, ...(checkpointEveryBytes === undefined ? {} : { checkpointEveryBytes }) }
}
