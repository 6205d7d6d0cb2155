import assert from 'node:assert/strict'
import { clampExtent, type Extent, totalBytes } from '@sendense/shared/domain/extent.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { settleAll } from '@sendense/shared/runtime/settle-all.ts'
import type { ChunkSink } from '../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../block/block-source.ts'
import { ChunkHash } from './chunk-hash.ts'
import { CHUNK_ID_BYTES } from './chunk-ids.ts'
import type { CopyCounters } from './copy-counters.ts'
import { type CopyEnvironment, loneCopyEnvironment } from './copy-environment.ts'
import type { DataRun, ZeroRun } from './copy-plan.ts'
import type { BackupCopyTask, CopyOptions, CopyProgress } from './mover.ts'
import {
  chunkCorrupt,
  chunksOfRun,
  fillZeros,
  readInto,
  readRanges,
  splitByContent,
  type WritePiece,
  writePieces,
} from './run-content.ts'
import { type CopyDisks, type CopyShape, runCopy } from './run-copy.ts'
import type { RunBuffer } from './slabs/run-buffer.ts'

const ZERO_ID = new Uint8Array(CHUNK_ID_BYTES)

/** Mover.copyBackup on this thread, over whatever source, sink and base are. */
export async function copyBackup(
  task: BackupCopyTask,
  options: CopyOptions,
  environment: CopyEnvironment = loneCopyEnvironment(),
): Promise<CopyProgress> {
  expectSameSizes(task)
  const { chunkIds, mode, sink } = task
  const { sizeBytes, chunkSizeBytes } = chunkIds
  const shape: CopyShape = {
    task,
    dirtyOnly: mode === 'incremental',
    plan: { sizeBytes, chunkSizeBytes, wasZero: (index) => chunkIds.isZero(index) },
    sink,
    base: task.base,
    // The ids of writes that got lost say that there is nothing to write.
    resume: undefined,
    work: ({ source, base }, counters) => {
      const copy = new BackupCopy({ task, source, base, counters })
      return {
        data: async (run, buffer, call) => await copy.copyRun(run, buffer, call),
        zero: async (run, call) => await copy.zeroRun(run, call),
      }
    },
  }
  return await runCopy(shape, options, environment)
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

interface BackupParts extends Pick<CopyDisks, 'source' | 'base'> {
  readonly task: BackupCopyTask
  readonly counters: CopyCounters
}

class BackupCopy {
  readonly #task: BackupCopyTask
  readonly #source: BlockSource
  readonly #base: BlockSource | undefined
  readonly #counters: CopyCounters
  readonly #hash: ChunkHash

  constructor({ task, source, base, counters }: BackupParts) {
    this.#task = task
    this.#source = source
    this.#base = base
    this.#counters = counters
    this.#hash = new ChunkHash(task.idKey)
  }

  async copyRun(run: DataRun, buffer: RunBuffer, call: CallOptions): Promise<void> {
    await this.#readBase(run, buffer, call)
    await readRanges(this.#source, run, buffer, call)
    const { chunks } = this.#task.sink
    if (chunks !== undefined) {
      await this.#putChunks(chunks, run, buffer, call)
      return
    }
    const pieces = this.#changedPieces(run, buffer)
    await writePieces(this.#task.sink, pieces, { run, buffer, counters: this.#counters, ...call })
  }

  /** Chunks that read as zeros now. Those that were something else are zeroed, all between the first and the last at once. */
  async zeroRun({ offsetBytes, lengthBytes }: ZeroRun, call: CallOptions): Promise<void> {
    const { chunkIds, sink } = this.#task
    for (const { index } of chunksOfRun({ offsetBytes, lengthBytes }, chunkIds.chunkSizeBytes)) {
      chunkIds.set(index, ZERO_ID)
    }
    this.#counters.add('zeroedBytes', lengthBytes)
    if (sink.chunks === undefined) await sink.writeZeroes(offsetBytes, lengthBytes, call)
  }

  /** Completes chunks that the plan covers only in part with the parent's bytes, which must be what their ids say. */
  async #readBase(run: DataRun, buffer: RunBuffer, call: CallOptions): Promise<void> {
    const base = this.#base
    const { chunkIds } = this.#task
    const reads: Promise<void>[] = []
    for (const { index, offsetBytes, lengthBytes } of chunksOfRun(run, chunkIds.chunkSizeBytes)) {
      const covered = run.ranges.flatMap((range) => {
        return clampExtent(range, offsetBytes, offsetBytes + lengthBytes) ?? []
      })
      if (totalBytes(covered) === lengthBytes) continue
      const chunk = { index, offsetBytes, lengthBytes }
      if (chunkIds.isZero(index)) {
        fillZeros(buffer, chunk, run)
        continue
      }
      assert(base !== undefined)
      this.#counters.add('baseReadBytes', lengthBytes)
      reads.push(this.#readBaseChunk(base, chunk, { run, buffer, ...call }))
    }
    await settleAll(reads)
  }

  async #readBaseChunk(
    base: BlockSource,
    chunk: Extent & { readonly index: number },
    into: CallOptions & { readonly run: DataRun; readonly buffer: RunBuffer },
  ): Promise<void> {
    const { offsetBytes, lengthBytes, index } = chunk
    await readInto(base, chunk, into)
    const id = this.#hash.idOf(...into.buffer.parts(offsetBytes - into.run.offsetBytes, lengthBytes))
    if (Buffer.compare(id, this.#task.chunkIds.at(index)) === 0) return
    throw chunkCorrupt('the base restore point is damaged', offsetBytes, lengthBytes)
  }

  /**
   * Brings the ids up to date and puts each chunk that is not zeros; also those whose id is the same: what an attempt put
   * that got lost has its ids here already, and the sink knows what it keeps.
   */
  async #putChunks(chunks: ChunkSink, run: DataRun, buffer: RunBuffer, { signal }: CallOptions): Promise<void> {
    const { chunkIds } = this.#task
    const waiting: Promise<void>[] = []
    for (const { index, offsetBytes, lengthBytes } of chunksOfRun(run, chunkIds.chunkSizeBytes)) {
      const parts = buffer.parts(offsetBytes - run.offsetBytes, lengthBytes)
      const id = this.#hash.idOf(...parts)
      const isNew = Buffer.compare(id, chunkIds.at(index)) !== 0
      if (isNew) chunkIds.set(index, id)
      const isZero = chunkIds.isZero(index)
      if (isNew) this.#counters.add(isZero ? 'zeroedBytes' : 'writtenBytes', lengthBytes)
      if (isZero) continue
      const taken = chunks.put({ index, offsetBytes, lengthBytes, id }, parts, { signal })
      if (taken !== undefined) waiting.push(taken)
    }
    await settleAll(waiting)
  }

  /**
   * Brings the ids up to date and returns what has to be written: of chunks whose id is another now, what the plan
   * covers; zeros only where the parent may have had something else.
   */
  #changedPieces(run: DataRun, buffer: RunBuffer): WritePiece[] {
    const { chunkIds } = this.#task
    const pieces: WritePiece[] = []
    for (const { index, offsetBytes, lengthBytes } of chunksOfRun(run, chunkIds.chunkSizeBytes)) {
      const id = this.#hash.idOf(...buffer.parts(offsetBytes - run.offsetBytes, lengthBytes))
      if (Buffer.compare(id, chunkIds.at(index)) === 0) continue
      const wasZero = chunkIds.isZero(index)
      chunkIds.set(index, id)
      for (const range of run.ranges) {
        const inside = clampExtent(range, offsetBytes, offsetBytes + lengthBytes)
        if (inside === undefined) continue
        for (const piece of splitByContent({ ...inside, zero: range.zero }, run, buffer)) {
          if (!piece.zero || !wasZero) pieces.push(piece)
        }
      }
    }
    return pieces
  }
}
