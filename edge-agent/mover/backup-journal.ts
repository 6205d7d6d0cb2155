import assert from 'node:assert/strict'
import { ChunkIds } from './chunk-ids.ts'

const AS_IN_PARENT = 0
const BEGUN = 1

/** What of a BackupJournal crosses to a thread. */
export interface JournalMemory {
  /** One byte for each chunk. */
  readonly marks: SharedArrayBuffer
  /** Absent: the parent is zeros. */
  readonly parentIds?: SharedArrayBuffer
}

/**
 * What the attempts of one backup have begun to change. An attempt that goes on after another one was lost finds ids of
 * either in place, and on the disk the parent's bytes, new ones, or some of both: neither says what is there. So before the
 * first change of a chunk its mark is set and the parent's id is kept. It lies in shared memory, so that it outlives the thread that
 * changed; what no chunk was changed in costs no memory. Each chunk is one thread's at a time.
 */
export class BackupJournal {
  readonly memory: JournalMemory
  readonly #chunkIds: ChunkIds
  readonly #marks: Uint8Array
  readonly #parentIds: ChunkIds | undefined

  /** @param chunkIds the backup's: before the first attempt the parent's, and all zero where `memory` has no ids of it */
  constructor(chunkIds: ChunkIds, memory: JournalMemory) {
    const { sizeBytes, chunkSizeBytes, count } = chunkIds
    this.memory = memory
    this.#chunkIds = chunkIds
    this.#marks = new Uint8Array(memory.marks)
    assert.equal(this.#marks.length, count)
    this.#parentIds = memory.parentIds && new ChunkIds(sizeBytes, chunkSizeBytes, memory.parentIds)
  }

  /** A new one. @param hasParent false: before the backup the disk to write reads as zeros */
  static of(chunkIds: ChunkIds, hasParent: boolean): BackupJournal {
    const marks = new SharedArrayBuffer(chunkIds.count)
    if (!hasParent) return new BackupJournal(chunkIds, { marks })
    return new BackupJournal(chunkIds, { marks, parentIds: new SharedArrayBuffer(chunkIds.bytes.length) })
  }

  /** Whether the chunk was begun to be changed, in this attempt or an earlier one: what the disk has there nobody knows. */
  isBegun(index: number): boolean {
    return this.#marks[index] !== AS_IN_PARENT
  }

  /** Call before the chunk's id or anything of it on the disk is changed. */
  begin(index: number): void {
    if (this.isBegun(index)) return
    this.#parentIds?.set(index, this.#chunkIds.at(index))
    this.#marks[index] = BEGUN
  }

  /** Whether the chunk was zeros in the parent. */
  wasZero(index: number): boolean {
    if (!this.isBegun(index)) return this.#chunkIds.isZero(index)
    return this.#parentIds === undefined || this.#parentIds.isZero(index)
  }

  /** Whether the disk to write reads as zeros there for certain. */
  isZeroStill(index: number): boolean {
    return !this.isBegun(index) && this.#chunkIds.isZero(index)
  }

  /** A view. Only where the chunk was not zeros. */
  parentIdOf(index: number): Uint8Array {
    if (!this.isBegun(index)) return this.#chunkIds.at(index)
    assert(this.#parentIds !== undefined, 'a parent of zeros has no ids')
    return this.#parentIds.at(index)
  }
}
