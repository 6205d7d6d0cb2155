import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type CopyEnvironment, loneCopyEnvironment } from './copy-environment.ts'
import type { DataRun } from './copy-plan.ts'
import { type CopyOptions, type CopyProgress, type DiskCopyTask, noCheckpoint } from './mover.ts'
import { readRanges, splitByContent, type WritePiece, writePieces } from './run-content.ts'
import { type CopyShape, runCopy } from './run-copy.ts'
import { type RunBuffer, SLAB_BYTES } from './slabs/run-buffer.ts'

/** Mover.copyDisk on this thread, over whatever source and sink are; it does not go back by itself. */
export async function copyDisk(
  task: DiskCopyTask,
  options: CopyOptions,
  environment: CopyEnvironment = loneCopyEnvironment(),
): Promise<CopyProgress> {
  const { sinkIsZero = false, dirtyOnly = false, resumeFrom = noCheckpoint, checkpointEveryBytes } = task
  expectRoom(task)
  const shape: CopyShape = {
    task,
    dirtyOnly,
    plan: {
      sizeBytes: task.source.sizeBytes,
      chunkSizeBytes: SLAB_BYTES,
      wasZero: () => sinkIsZero || task.sink === undefined,
      completeChunks: false,
    },
    sink: task.sink,
    resume: { from: resumeFrom, everyBytes: checkpointEveryBytes },
    work: ({ source, sink }, counters) => ({
      data: async (run, buffer, call) => {
        await readRanges(source, run, buffer, call)
        if (sink !== undefined) await writePieces(sink, toWrite(task, run, buffer), { run, buffer, counters, ...call })
      },
      zero: async ({ offsetBytes, lengthBytes }, call) => {
        counters.add('zeroedBytes', lengthBytes)
        await sink?.writeZeroes(offsetBytes, lengthBytes, call)
      },
    }),
  }
  return await runCopy(shape, options, environment)
}

function expectRoom({ source, sink }: DiskCopyTask): void {
  if (sink === undefined || sink.sizeBytes >= source.sizeBytes) return
  const message = `the target disk has ${sink.sizeBytes} bytes, the source ${source.sizeBytes}`
  throw new PlatformError('target.disk_size_mismatch', message)
}

function* toWrite(
  { sinkIsZero = false, detectZeroes = false }: DiskCopyTask,
  run: DataRun,
  buffer: RunBuffer,
): Generator<WritePiece> {
  for (const range of run.ranges) {
    for (const piece of detectZeroes ? splitByContent(range, run, buffer) : [range]) {
      if (!piece.zero || !sinkIsZero) yield piece
    }
  }
}
