import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { ChunkHash } from './chunk-hash.ts'
import { type CopyEnvironment, loneCopyEnvironment } from './copy-environment.ts'
import type { DataRun } from './copy-plan.ts'
import { type CopyOptions, type CopyProgress, noCheckpoint, type RestoreCopyTask } from './mover.ts'
import { chunkCorrupt, chunksOfRun, readRanges, splitByContent, type WritePiece, writePieces } from './run-content.ts'
import { type CopyShape, runCopy } from './run-copy.ts'
import type { RunBuffer } from './slabs/run-buffer.ts'

/** Mover.copyRestore on this thread, over whatever source and sink are; it does not go back by itself. */
export async function copyRestore(
  task: RestoreCopyTask,
  options: CopyOptions,
  environment: CopyEnvironment = loneCopyEnvironment(),
): Promise<CopyProgress> {
  expectSameSizes(task)
  const { chunkIds, resumeFrom = noCheckpoint, checkpointEveryBytes } = task
  const { sizeBytes, chunkSizeBytes } = chunkIds
  const hash = new ChunkHash(task.idKey)
  const shape: CopyShape = {
    task,
    dirtyOnly: false,
    plan: {
      sizeBytes,
      chunkSizeBytes,
      wasZero: (index: number) => chunkIds.isZero(index),
      completeChunks: false,
    },
    sink: task.sink,
    resume: { from: resumeFrom, everyBytes: checkpointEveryBytes },
    work: ({ source, sink }, counters) => ({
      data: async (run, buffer, call) => {
        await readRanges(source, run, buffer, call)
        expectIds(task, hash, run, buffer)
        if (sink !== undefined) await writePieces(sink, dataOf(run, buffer), { run, buffer, counters, ...call })
      },
    }),
  }
  return await runCopy(shape, options, environment)
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

function expectIds({ chunkIds }: RestoreCopyTask, hash: ChunkHash, run: DataRun, buffer: RunBuffer): void {
  for (const { index, offsetBytes, lengthBytes } of chunksOfRun(run, chunkIds.chunkSizeBytes)) {
    const id = hash.idOf(...buffer.parts(offsetBytes - run.offsetBytes, lengthBytes))
    if (Buffer.compare(id, chunkIds.at(index)) === 0) continue
    throw chunkCorrupt('the restore point is damaged', offsetBytes, lengthBytes)
  }
}

/** The sink reads as zeros already. */
function* dataOf(run: DataRun, buffer: RunBuffer): Generator<WritePiece> {
  for (const range of run.ranges) {
    for (const piece of splitByContent(range, run, buffer)) if (!piece.zero) yield piece
  }
}
