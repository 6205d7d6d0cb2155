import type { Extent } from '@sendense/shared/domain/extent.ts'
import type { CallOptions } from '../block/block-source.ts'
import { runParallel } from '../object-store/run-parallel.ts'
import type { ArchivedDisk, ChunkPlaceName } from './archive.ts'
import { dataRuns, RUN_BYTES } from './data-runs.ts'
import type { LostRanges } from './lost-ranges.ts'
import { salvagedSource } from './salvaged-source.ts'

const RUNS_AT_ONCE = 8

/** Stored chunks that were read and found right: what restore points share is read once. */
export class VerifiedChunks {
  readonly #numbers = new Map<string, Set<number>>()

  has({ file, number }: ChunkPlaceName): boolean {
    return this.#numbers.get(file)?.has(number) ?? false
  }

  add({ file, number }: ChunkPlaceName): void {
    const known = this.#numbers.get(file) ?? new Set()
    this.#numbers.set(file, known.add(number))
  }
}

export interface VerifyDiskOptions extends CallOptions {
  readonly idKey: Uint8Array
  /** Gets what is damaged. */
  readonly lost: LostRanges
  readonly known: VerifiedChunks
}

/**
 * Reads every chunk of a disk that was not read before and checks it against its id.
 * @param onBytes told how many bytes are done now, and how many there are
 * @returns how many bytes were read
 */
export async function verifyDisk(
  disk: ArchivedDisk,
  { idKey, lost, known, signal }: VerifyDiskOptions,
  onBytes: (bytes: number, totalBytes: number) => void,
): Promise<number> {
  const source = salvagedSource(disk, { idKey, lost })
  const totalBytes = await dataBytesOf(disk, { signal })
  const buffers: Uint8Array[] = []
  let readBytes = 0
  await runParallel(dataRuns(source, { signal }), { concurrency: RUNS_AT_ONCE, signal }, async (run, call) => {
    const places = placesOf(disk, run)
    if (!places.every((place) => place !== undefined && known.has(place))) {
      const buffer = buffers.pop() ?? new Uint8Array(RUN_BYTES)
      const before = lost.count
      await source.read(run.offsetBytes, buffer.subarray(0, run.lengthBytes), call)
      buffers.push(buffer)
      readBytes += run.lengthBytes
      if (lost.count === before) for (const place of places) if (place !== undefined) known.add(place)
    }
    onBytes(run.lengthBytes, totalBytes)
  })
  return readBytes
}

/** Bytes of chunks that are not zeros. */
export async function dataBytesOf({ chunkIds }: ArchivedDisk, { signal }: CallOptions): Promise<number> {
  const { count, chunkSizeBytes, sizeBytes } = chunkIds
  let bytes = 0
  for (let index = 0; index < count; index += 1) {
    if (!chunkIds.isZero(index)) bytes += Math.min(chunkSizeBytes, sizeBytes - index * chunkSizeBytes)
  }
  signal.throwIfAborted()
  return bytes
}

/** Of each chunk of a run. */
function placesOf(
  { chunkIds, placeOf }: ArchivedDisk,
  { offsetBytes, lengthBytes }: Extent,
): (ChunkPlaceName | undefined)[] {
  const first = Math.floor(offsetBytes / chunkIds.chunkSizeBytes)
  const count = Math.ceil(lengthBytes / chunkIds.chunkSizeBytes)
  return Array.from({ length: count }, (_, index) => placeOf?.(first + index))
}
