import assert from 'node:assert/strict'
import { clampExtent, type Extent, totalBytes } from '@sendense/shared/domain/extent.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { settleAll } from '@sendense/shared/runtime/settle-all.ts'
import type { BlockSink, ChunkSink } from '../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../block/block-source.ts'
import { BackupJournal } from './backup-journal.ts'
import { ChunkHash } from './chunk-hash.ts'
import { CHUNK_ID_BYTES, type ChunkIds } from './chunk-ids.ts'
import type { CopyCounters } from './copy-counters.ts'
import { type CopyEnvironment, loneCopyEnvironment } from './copy-environment.ts'
import type { DataRun, ZeroRun } from './copy-plan.ts'
import { type BackupCopyTask, type CopyCheckpoint, type CopyOptions, type CopyProgress, noCheckpoint } from './mover.ts'
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

/** One of several attempts at a backup. */
export interface BackupAttempt extends BackupCopyTask {
  /** Where the attempts before had come. Absent: begin at the start. Of a source of another size: `source.disk_size_changed`. */
  readonly resumeFrom?: CopyCheckpoint
  /** That of the attempts before. Absent: there were none. */
  readonly journal?: BackupJournal
}

/** Mover.copyBackup on this thread, over whatever source, sink and base are; it does not go back by itself. */
export async function copyBackup(
  task: BackupAttempt,
  options: CopyOptions,
  environment: CopyEnvironment = loneCopyEnvironment(),
): Promise<CopyProgress> {
  expectSameSizes(task)
  const { chunkIds, mode, sink, resumeFrom = noCheckpoint, checkpointEveryBytes } = task
  const journal = task.journal ?? BackupJournal.of(chunkIds, mode !== 'full')
  const { sizeBytes, chunkSizeBytes } = chunkIds
  const shape: CopyShape = {
    task,
    dirtyOnly: mode === 'incremental',
    plan: {
      sizeBytes,
      chunkSizeBytes,
      wasZero: (index) => journal.isZeroStill(index),
      completeChunks: sink.chunks !== undefined,
    },
    sink,
    base: task.base,
    resume: { from: resumeFrom, everyBytes: checkpointEveryBytes },
    work: ({ source, sink: written = sink, base }, counters) => {
      const copy = new BackupCopy({ task, journal, source, sink: written, base, counters })
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
  const isCompletedFromSource = sink.chunks !== undefined
  assert(mode === 'full' || isCompletedFromSource || base !== undefined, `mode ${mode} needs the parent's content`)
  if (base !== undefined && base.sizeBytes !== sizeBytes) {
    const message = `the base has ${base.sizeBytes} bytes instead of ${sizeBytes}`
    throw new PlatformError('repository.base_mismatch', message)
  }
}

interface BackupParts extends Omit<CopyDisks, 'sink'> {
  readonly task: BackupCopyTask
  readonly journal: BackupJournal
  readonly sink: BlockSink
  readonly counters: CopyCounters
}

class BackupCopy {
  readonly #chunkIds: ChunkIds
  readonly #journal: BackupJournal
  readonly #source: BlockSource
  readonly #sink: BlockSink
  readonly #base: BlockSource | undefined
  readonly #counters: CopyCounters
  readonly #hash: ChunkHash

  constructor({ task, journal, source, sink, base, counters }: BackupParts) {
    this.#chunkIds = task.chunkIds
    this.#journal = journal
    this.#source = source
    this.#sink = sink
    this.#base = base
    this.#counters = counters
    this.#hash = new ChunkHash(task.idKey)
  }

  async copyRun(run: DataRun, buffer: RunBuffer, call: CallOptions): Promise<void> {
    await this.#readBase(run, buffer, call)
    await readRanges(this.#source, run, buffer, call)
    const { chunks } = this.#sink
    if (chunks !== undefined) {
      await this.#putChunks(chunks, run, buffer, call)
      return
    }
    const pieces = this.#changedPieces(run, buffer)
    await writePieces(this.#sink, pieces, { run, buffer, counters: this.#counters, ...call })
  }

  /** Chunks that read as zeros now. Those that were something else are zeroed, all between the first and the last at once. */
  async zeroRun({ offsetBytes, lengthBytes }: ZeroRun, call: CallOptions): Promise<void> {
    for (const { index } of chunksOfRun({ offsetBytes, lengthBytes }, this.#chunkIds.chunkSizeBytes)) {
      this.#setId(index, ZERO_ID)
    }
    this.#counters.add('zeroedBytes', lengthBytes)
    if (this.#sink.chunks === undefined) await this.#sink.writeZeroes(offsetBytes, lengthBytes, call)
  }

  /** Completes chunks that the plan covers only in part with the parent's bytes, which must be what their ids say. */
  async #readBase(run: DataRun, buffer: RunBuffer, call: CallOptions): Promise<void> {
    const base = this.#base
    const reads: Promise<void>[] = []
    for (const { index, offsetBytes, lengthBytes } of chunksOfRun(run, this.#chunkIds.chunkSizeBytes)) {
      const covered = run.ranges.flatMap((range) => {
        return clampExtent(range, offsetBytes, offsetBytes + lengthBytes) ?? []
      })
      if (totalBytes(covered) === lengthBytes) continue
      const chunk = { index, offsetBytes, lengthBytes }
      if (this.#journal.wasZero(index)) {
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
    if (Buffer.compare(id, this.#journal.parentIdOf(index)) === 0) return
    throw chunkCorrupt('the base restore point is damaged', offsetBytes, lengthBytes)
  }

  /**
   * Brings the ids up to date and puts each chunk that is not zeros; also those whose id is the same: what an attempt put
   * that got lost has its ids here already, and the sink knows what it keeps.
   */
  async #putChunks(chunks: ChunkSink, run: DataRun, buffer: RunBuffer, { signal }: CallOptions): Promise<void> {
    const chunkIds = this.#chunkIds
    const waiting: Promise<void>[] = []
    for (const { index, offsetBytes, lengthBytes } of chunksOfRun(run, chunkIds.chunkSizeBytes)) {
      const parts = buffer.parts(offsetBytes - run.offsetBytes, lengthBytes)
      const id = this.#hash.idOf(...parts)
      const isNew = Buffer.compare(id, chunkIds.at(index)) !== 0
      if (isNew) this.#setId(index, id)
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
   * covers; zeros only where the parent may have had something else. Of a chunk that an earlier attempt had begun all of
   * it, zeros too, whatever its id says.
   */
  #changedPieces(run: DataRun, buffer: RunBuffer): WritePiece[] {
    const chunkIds = this.#chunkIds
    const pieces: WritePiece[] = []
    for (const chunk of chunksOfRun(run, chunkIds.chunkSizeBytes)) {
      const { index, offsetBytes, lengthBytes } = chunk
      const id = this.#hash.idOf(...buffer.parts(offsetBytes - run.offsetBytes, lengthBytes))
      if (this.#journal.isBegun(index)) {
        chunkIds.set(index, id)
        pieces.push(...splitByContent({ offsetBytes, lengthBytes, zero: false }, run, buffer))
        continue
      }
      if (Buffer.compare(id, chunkIds.at(index)) === 0) continue
      const wasZero = chunkIds.isZero(index)
      this.#setId(index, id)
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

  #setId(index: number, id: Uint8Array): void {
    this.#journal.begin(index)
    this.#chunkIds.set(index, id)
  }
}
