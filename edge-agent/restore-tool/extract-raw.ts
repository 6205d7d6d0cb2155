import type { BlockSource, CallOptions } from '../block/block-source.ts'
import { runParallel } from '../object-store/run-parallel.ts'
import { dataRuns, RUN_BYTES } from './data-runs.ts'
import { RawOutput } from './raw-output.ts'

/** Runs read and written at a time: memory is so many times 4 MiB. */
const RUNS_AT_ONCE = 8

export interface ExtractOptions extends CallOptions {
  readonly file: string
  readonly force: boolean
  /** Told of bytes that are in the file now, and were not zeros. */
  readonly onBytes: (bytes: number) => void
}

/**
 * Writes a disk to a sparse file or to a device, which holds exactly it when this resolves, durably; when it rejects there is
 * no such file. Rejects as the source, and with `input.invalid`, `target.no_space`, `target.write_failed`.
 */
export async function extractRaw(source: BlockSource, options: ExtractOptions): Promise<void> {
  const { file, force, onBytes, signal } = options
  const { sizeBytes } = source
  await using output = await RawOutput.create(file, { sizeBytes, force })
  if (output.zeros === 'must-be-written') await writeZeros(source, output, { signal })
  const buffers: Uint8Array[] = []
  await runParallel(dataRuns(source, { signal }), { concurrency: RUNS_AT_ONCE, signal }, async (run, call) => {
    const buffer = buffers.pop() ?? new Uint8Array(RUN_BYTES)
    const bytes = buffer.subarray(0, run.lengthBytes)
    await source.read(run.offsetBytes, bytes, call)
    await output.write(run.offsetBytes, bytes)
    buffers.push(buffer)
    onBytes(run.lengthBytes)
  })
  await output.finish()
}

async function writeZeros(source: BlockSource, output: RawOutput, { signal }: CallOptions): Promise<void> {
  if (source.sizeBytes === 0) return
  for await (const extent of source.extents({ offsetBytes: 0, lengthBytes: source.sizeBytes }, { signal })) {
    signal.throwIfAborted()
    if (extent.zero) await output.writeZeros(extent)
  }
}
