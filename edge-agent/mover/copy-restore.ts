import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../block/block-source.ts'
import { countingSource } from '../block/layers/counting-source.ts'
import { ChunkHash } from './chunk-hash.ts'
import { CopyCounters } from './copy-counters.ts'
import { type CopyRun, countPlannedBytes, planRuns, runBytesMax } from './copy-plan.ts'
import type { CopyOptions, CopyProgress, RestoreCopyTask } from './mover.ts'
import {
  chunkCorrupt,
  chunksOfRun,
  plannedBytesOf,
  readRanges,
  splitByContent,
  type WritePiece,
  writePieces,
} from './run-content.ts'
import { workOnRuns } from './run-loops.ts'

/** Mover.copyRestore on this thread, over whatever source and sink are. */
export async function copyRestore(task: RestoreCopyTask, { signal, onProgress }: CopyOptions): Promise<CopyProgress> {
  signal.throwIfAborted()
  expectSameSizes(task)
  const counters = new CopyCounters()
  return await counters.report(onProgress, async () => await copyAll(task, counters, { signal }))
}

function expectSameSizes({ source, sink, chunkIds }: RestoreCopyTask): void {
  const { sizeBytes } = chunkIds
  if (source.sizeBytes !== sizeBytes) {
    const message = `the restore point's disk has ${source.sizeBytes} bytes instead of ${sizeBytes}`
    throw new PlatformError('repository.manifest_invalid', message)
  }
  if (sink !== undefined && sink.sizeBytes !== sizeBytes) {
    const message = `the target disk has ${sink.sizeBytes} bytes instead of ${sizeBytes}`
    throw new PlatformError('target.disk_size_mismatch', message)
  }
}

async function copyAll(task: RestoreCopyTask, counters: CopyCounters, { signal }: CallOptions): Promise<void> {
  const { chunkIds, sink } = task
  const source = countingSource(task.source, (bytes) => counters.add('readBytes', bytes))
  const hash = new ChunkHash(task.idKey)
  const plan = { chunkIds, dirtyOnly: false }
  counters.add('plannedBytes', await countPlannedBytes(source, plan, { signal }))
  const runs = planRuns(source, plan, { signal })
  await workOnRuns(runs, { runBytes: runBytesMax(chunkIds), signal }, async (run, slab, call) => {
    await readRanges(source, run, slab, call)
    expectIds(task, hash, run, slab)
    if (sink !== undefined) await writePieces(sink, dataOf(run, slab), { run, slab, counters, ...call })
    counters.add('doneBytes', plannedBytesOf(run))
  })
  await sink?.flush({ signal })
}

function expectIds({ chunkIds }: RestoreCopyTask, hash: ChunkHash, run: CopyRun, slab: Uint8Array): void {
  for (const { index, offsetBytes, lengthBytes } of chunksOfRun(run, chunkIds.chunkSizeBytes)) {
    const start = offsetBytes - run.offsetBytes
    const id = hash.idOf(slab.subarray(start, start + lengthBytes))
    if (Buffer.compare(id, chunkIds.at(index)) === 0) continue
    throw chunkCorrupt('the restore point is damaged', offsetBytes, lengthBytes)
  }
}

/** The sink reads as zeros already. */
function* dataOf(run: CopyRun, slab: Uint8Array): Generator<WritePiece> {
  for (const range of run.ranges) {
    for (const piece of splitByContent(range, run, slab)) if (!piece.zero) yield piece
  }
}
