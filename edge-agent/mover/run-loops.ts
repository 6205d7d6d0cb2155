import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { CopyRun } from './copy-plan.ts'

/** Buffers of one copy: what it reads ahead, and all its memory that grows with the disk's speed. */
const SLABS_BYTES_MAX = 16 * 1024 * 1024
const LOOPS_MIN = 2

export interface RunWork {
  /** @param slab the run's memory, of the run's length; its content is whatever was there */
  (run: CopyRun, slab: Uint8Array, options: CallOptions): Promise<void>
}

/**
 * Works on several runs at once, each in a slab of its own, so that reads of one overlap writes of another while memory
 * stays constant. Rejects only when nothing is under way any more. After a corrupt chunk the runs before it are finished, so
 * that the error names the first one; after any other error everything is aborted.
 */
export async function workOnRuns(
  runs: AsyncGenerator<CopyRun, void, undefined>,
  { runBytes, signal }: CallOptions & { readonly runBytes: number },
  work: RunWork,
): Promise<void> {
  const abandon = new AbortController()
  const bothSignals = AbortSignal.any([signal, abandon.signal])
  const failures: unknown[] = []
  const loop = async (): Promise<void> => {
    let slab: Uint8Array | undefined
    try {
      while (failures.length === 0) {
        bothSignals.throwIfAborted()
        const next = await runs.next()
        if (next.done === true) return
        slab ??= new Uint8Array(runBytes)
        await work(next.value, slab.subarray(0, next.value.lengthBytes), { signal: bothSignals })
      }
    } catch (error) {
      failures.push(error)
      if (!isPlatformError(error, 'repository.chunk_corrupt')) abandon.abort(error)
    }
  }
  const loopCount = Math.max(LOOPS_MIN, Math.floor(SLABS_BYTES_MAX / runBytes))
  await Promise.all(Array.from({ length: loopCount }, loop))
  await runs.return()
  signal.throwIfAborted()
  if (failures.length > 0) throw worst(failures)
}

/** What happened first, or of several corrupt chunks the one that comes first on the disk. */
function worst(failures: readonly unknown[]): unknown {
  const [first] = failures
  if (!isPlatformError(first, 'repository.chunk_corrupt')) return first
  const corrupt = failures.filter((error) => isPlatformError(error, 'repository.chunk_corrupt'))
  return corrupt.reduce((lowest, error) => (offsetOf(error) < offsetOf(lowest) ? error : lowest), first)
}

function offsetOf(error: PlatformError): number {
  return Number(error.details['offsetBytes'])
}
