import assert from 'node:assert/strict'
import { clampExtent, totalBytes } from '@sendense/shared/domain/extent.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import type { BlockSource, CallOptions } from '../block/block-source.ts'
import { countingSource } from '../block/layers/counting-source.ts'
import { throttledSource } from '../block/layers/throttled-source.ts'
import { ChunkHash } from './chunk-hash.ts'
import { CopyCounters } from './copy-counters.ts'
import { type CopyRun, countPlannedBytes, planRuns, runBytesMax } from './copy-plan.ts'
import type { BackupCopyTask, CopyOptions, CopyProgress } from './mover.ts'
import {
  chunkCorrupt,
  chunksOfRun,
  plannedBytesOf,
  readRanges,
  settleAll,
  splitByContent,
  type WritePiece,
  writePieces,
} from './run-content.ts'
import { workOnRuns } from './run-loops.ts'

/** Mover.copyBackup on this thread, over whatever source, sink and base are. */
export async function copyBackup(
  task: BackupCopyTask,
  { signal, onProgress }: CopyOptions,
  clock: Clock = systemClock,
): Promise<CopyProgress> {
  signal.throwIfAborted()
  expectSameSizes(task)
  const counters = new CopyCounters()
  const copy = new BackupCopy(task, layered(task, counters, clock), counters)
  return await counters.report(onProgress, async () => await copy.run({ signal }))
}

/** The source as the copy reads it: throttled where asked, then counted. The caller disposes the source, not we. */
function layered(task: BackupCopyTask, counters: CopyCounters, clock: Clock): BlockSource {
  const { source, readRateMaxBytesPerSecond: bytesPerSecond } = task
  const slow = bytesPerSecond === undefined ? source : throttledSource(source, { bytesPerSecond, clock })
  return countingSource(slow, (bytes) => counters.add('readBytes', bytes))
}

function expectSameSizes({ mode, source, sink, base, chunkIds }: BackupCopyTask): void {
  const { sizeBytes } = chunkIds
  if (source.sizeBytes !== sizeBytes) {
    const message = `the source disk has ${source.sizeBytes} bytes instead of ${sizeBytes}`
    throw new PlatformError('source.disk_size_changed', message)
  }
  if (sink.sizeBytes !== sizeBytes) {
    const message = `the disk to write has ${sink.sizeBytes} bytes instead of ${sizeBytes}`
    throw new PlatformError('target.disk_size_mismatch', message)
  }
  assert(mode === 'full' || base !== undefined, `mode ${mode} needs the parent's content`)
  if (base !== undefined && base.sizeBytes !== sizeBytes) {
    const message = `the base has ${base.sizeBytes} bytes instead of ${sizeBytes}`
    throw new PlatformError('repository.base_mismatch', message)
  }
}

class BackupCopy {
  readonly #task: BackupCopyTask
  readonly #source: BlockSource
  readonly #counters: CopyCounters
  readonly #hash: ChunkHash

  constructor(task: BackupCopyTask, source: BlockSource, counters: CopyCounters) {
    this.#task = task
    this.#source = source
    this.#counters = counters
    this.#hash = new ChunkHash(task.idKey)
  }

  async run({ signal }: CallOptions): Promise<void> {
    const { chunkIds, mode, sink } = this.#task
    const plan = { chunkIds, dirtyOnly: mode === 'incremental' }
    this.#counters.add('plannedBytes', await countPlannedBytes(this.#source, plan, { signal }))
    const runs = planRuns(this.#source, plan, { signal })
    await workOnRuns(runs, { runBytes: runBytesMax(chunkIds), signal }, async (run, slab, call) => {
      await this.#copyRun(run, slab, call)
    })
    await sink.flush({ signal })
  }

  async #copyRun(run: CopyRun, slab: Uint8Array, call: CallOptions): Promise<void> {
    await this.#readBase(run, slab, call)
    await readRanges(this.#source, run, slab, call)
    await writePieces(this.#task.sink, this.#changedPieces(run, slab), { run, slab, counters: this.#counters, ...call })
    this.#counters.add('doneBytes', plannedBytesOf(run))
  }

  /** Completes chunks that the plan covers only in part with the parent's bytes, which must be what their ids say. */
  async #readBase(run: CopyRun, slab: Uint8Array, call: CallOptions): Promise<void> {
    const { base, chunkIds } = this.#task
    const reads: Promise<void>[] = []
    for (const { index, offsetBytes, lengthBytes } of chunksOfRun(run, chunkIds.chunkSizeBytes)) {
      const covered = run.ranges.flatMap((range) => {
        return clampExtent(range, offsetBytes, offsetBytes + lengthBytes) ?? []
      })
      if (totalBytes(covered) === lengthBytes) continue
      const chunk = slab.subarray(offsetBytes - run.offsetBytes, offsetBytes - run.offsetBytes + lengthBytes)
      if (chunkIds.isZero(index)) {
        chunk.fill(0)
        continue
      }
      assert(base !== undefined)
      this.#counters.add('baseReadBytes', lengthBytes)
      reads.push(this.#readBaseChunk(base, { index, offsetBytes }, chunk, call))
    }
    await settleAll(reads)
  }

  async #readBaseChunk(
    base: BlockSource,
    { index, offsetBytes }: { readonly index: number; readonly offsetBytes: number },
    chunk: Uint8Array,
    call: CallOptions,
  ): Promise<void> {
    await base.read(offsetBytes, chunk, call)
    if (Buffer.compare(this.#hash.idOf(chunk), this.#task.chunkIds.at(index)) === 0) return
    throw chunkCorrupt('the base restore point is damaged', offsetBytes, chunk.length)
  }

  /**
   * Brings the ids up to date and returns what has to be written: of chunks whose id is another now, what the plan
   * covers; zeros only where the parent may have had something else.
   */
  #changedPieces(run: CopyRun, slab: Uint8Array): WritePiece[] {
    const { chunkIds } = this.#task
    const pieces: WritePiece[] = []
    for (const { index, offsetBytes, lengthBytes } of chunksOfRun(run, chunkIds.chunkSizeBytes)) {
      const start = offsetBytes - run.offsetBytes
      const id = this.#hash.idOf(slab.subarray(start, start + lengthBytes))
      if (Buffer.compare(id, chunkIds.at(index)) === 0) continue
      const wasZero = chunkIds.isZero(index)
      chunkIds.set(index, id)
      for (const range of run.ranges) {
        const inside = clampExtent(range, offsetBytes, offsetBytes + lengthBytes)
        if (inside === undefined) continue
        for (const piece of splitByContent({ ...inside, zero: range.zero }, run, slab)) {
          if (!piece.zero || !wasZero) pieces.push(piece)
        }
      }
    }
    return pieces
  }
}
