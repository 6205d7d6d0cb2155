import type { BlockEndpoint } from '../block/block-endpoint.ts'
import type { BlockSink } from '../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../block/block-source.ts'
import { openNbdSink } from '../nbd/client/nbd-sink.ts'
import { openNbdSource } from '../nbd/client/nbd-source.ts'
import { ChunkIds } from './chunk-ids.ts'
import { copyBackup } from './copy-backup.ts'
import { copyRestore } from './copy-restore.ts'
import type { ErrorRoles } from './error-roles.ts'
import type { MoverTask } from './mover-task.ts'
import type { CopyOptions, CopyProgress } from './mover.ts'

interface TaskOptions extends CopyOptions {
  readonly roles: ErrorRoles
}

/** Opens the disks of a task, copies, and closes them. Rejects as Mover does; `roles` knows whose error it was. */
export async function runMoverTask(task: MoverTask, options: TaskOptions): Promise<CopyProgress> {
  return task.kind === 'backup' ? await runBackup(task, options) : await runRestore(task, options)
}

async function runBackup(task: Extract<MoverTask, { kind: 'backup' }>, options: TaskOptions): Promise<CopyProgress> {
  await using open = new AsyncDisposableStack()
  const { mode, idKey, readRateMaxBytesPerSecond } = task
  const source = open.use(await openSource('source', task.source, options))
  const sink = open.use(await openSink(task.sink, options))
  const base = task.base === undefined ? {} : { base: open.use(await openSource('base', task.base, options)) }
  const rate = readRateMaxBytesPerSecond === undefined ? {} : { readRateMaxBytesPerSecond }
  return await copyBackup({ mode, source, sink, ...base, chunkIds: idsOf(task), idKey, ...rate }, options)
}

async function runRestore(task: Extract<MoverTask, { kind: 'restore' }>, options: TaskOptions): Promise<CopyProgress> {
  await using open = new AsyncDisposableStack()
  const source = open.use(await openSource('source', task.source, options))
  const sink = task.sink === undefined ? {} : { sink: open.use(await openSink(task.sink, options)) }
  return await copyRestore({ source, ...sink, chunkIds: idsOf(task), idKey: task.idKey }, options)
}

function idsOf({ sizeBytes, chunkSizeBytes, chunkIds }: MoverTask): ChunkIds {
  return new ChunkIds(sizeBytes, chunkSizeBytes, chunkIds)
}

async function openSource(
  role: 'source' | 'base',
  endpoint: BlockEndpoint,
  { roles, signal }: CallOptions & { readonly roles: ErrorRoles },
): Promise<BlockSource> {
  return roles.ofSource(role, await roles.note(role, async () => await openNbdSource(endpoint, { signal })))
}

async function openSink(
  endpoint: BlockEndpoint,
  { roles, signal }: CallOptions & { readonly roles: ErrorRoles },
): Promise<BlockSink> {
  return roles.ofSink('sink', await roles.note('sink', async () => await openNbdSink(endpoint, { signal })))
}
