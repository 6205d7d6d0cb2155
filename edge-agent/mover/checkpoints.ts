import { setImmediate as nextTurn } from 'node:timers/promises'
import { endOf } from '@sendense/shared/domain/extent.ts'
import type { BlockSink } from '../block/block-sink.ts'
import type { CallOptions } from '../block/block-source.ts'
import { type CopyRun, plannedBytesOf } from './copy-plan.ts'
import type { CopyCheckpoint } from './mover.ts'

export interface CheckpointOptions {
  readonly from: CopyCheckpoint
  /** Of the source. */
  readonly sizeBytes: number
  /** A checkpoint is due when so many bytes were settled since the last one. */
  readonly everyBytes: number
  /** Absent: nothing is written. */
  readonly sink?: BlockSink
  /** Told of each new checkpoint. */
  readonly onCheckpoint: (checkpoint: CopyCheckpoint) => void
}

/**
 * How far a copy has durably come. Runs begin in disk order and are settled in any; one that begins before another that has
 * begun already was another lane's: it is in no checkpoint but the last. A sink that cannot flush gets no
 * checkpoint, not even at the end.
 */
export class Checkpoints {
  readonly #options: CheckpointOptions
  /** Begun, in disk order, and whether they are settled. The first one never is. */
  readonly #begun = new Map<CopyRun, boolean>()
  /** Where the last of them ends. */
  #begunTo = 0
  /** Of runs that were another lane's. */
  readonly #besides = { doneBytes: 0, doneExtents: 0 }
  /** All below is settled. */
  #reached: CopyCheckpoint
  #last: CopyCheckpoint
  #settledBytes = 0
  #isFlushing = false
  #isSpoilt = false

  constructor(options: CheckpointOptions) {
    this.#options = options
    this.#reached = options.from
    this.#last = options.from
    this.#isSpoilt = options.sink?.cannotFlush === true
  }

  /**
   * The sink that the copy writes to. A write that fails may have taken earlier ones with it: after one no flush makes a
   * checkpoint any more. The caller disposes `sink`, not the result.
   */
  guard(sink: BlockSink): BlockSink {
    const spoil = (error: unknown): never => {
      this.#isSpoilt = true
      throw error
    }
    const { chunks } = sink
    return {
      sizeBytes: sink.sizeBytes,
      ...(chunks === undefined ? {} : { chunks: { put: (...args) => chunks.put(...args)?.catch(spoil) } }),
      write: (offsetBytes, bytes, call) => sink.write(offsetBytes, bytes, call).catch(spoil),
      writeZeroes: (offsetBytes, lengthBytes, call) => sink.writeZeroes(offsetBytes, lengthBytes, call).catch(spoil),
      flush: (call) => sink.flush(call).catch(spoil),
      [Symbol.asyncDispose]: async () => undefined,
    }
  }

  begin(run: CopyRun): void {
    if (run.offsetBytes < this.#begunTo) return
    this.#begunTo = endOf(run)
    this.#begun.set(run, false)
  }

  settle(run: CopyRun): void {
    this.#settledBytes += run.lengthBytes
    if (!this.#begun.has(run)) {
      this.#besides.doneBytes += plannedBytesOf(run)
      this.#besides.doneExtents += extentsBegunIn(run)
      return
    }
    this.#begun.set(run, true)
    for (const [first, isSettled] of this.#begun) {
      if (!isSettled) return
      this.#begun.delete(first)
      this.#reached = {
        sizeBytes: this.#options.sizeBytes,
        offsetBytes: endOf(first),
        doneBytes: this.#reached.doneBytes + plannedBytesOf(first),
        doneExtents: this.#reached.doneExtents + extentsBegunIn(first),
      }
    }
  }

  /** Whether `take` should be called now. */
  get isDue(): boolean {
    return (
      !this.#isSpoilt &&
      !this.#isFlushing &&
      this.#settledBytes >= this.#options.everyBytes &&
      this.#reached !== this.#last
    )
  }

  /** Flushes and tells of the new checkpoint, if there is one. Copying may go on meanwhile. Rejects as the flush does. */
  async take(call: CallOptions): Promise<void> {
    const reached = this.#reached
    if (this.#isSpoilt || this.#isFlushing || reached === this.#last) return
    this.#isFlushing = true
    this.#settledBytes = 0
    try {
      await this.#options.sink?.flush(call)
    } finally {
      this.#isFlushing = false
    }
    // What the disk had rejected before it was asked to flush is known by now: what was lost with it is not in the flush.
    await nextTurn()
    if (!this.#isSpoilt) this.#tell(reached)
  }

  /** Everything is done and flushed. */
  end(): void {
    if (this.#options.sink?.cannotFlush === true) return
    const { sizeBytes } = this.#options
    const doneBytes = this.#reached.doneBytes + this.#besides.doneBytes
    const doneExtents = this.#reached.doneExtents + this.#besides.doneExtents
    this.#tell({ offsetBytes: sizeBytes, sizeBytes, doneBytes, doneExtents })
  }

  #tell(checkpoint: CopyCheckpoint): void {
    this.#last = checkpoint
    this.#options.onCheckpoint(checkpoint)
  }
}

function extentsBegunIn(run: CopyRun): number {
  return run.kind === 'data' ? run.extentsBegun : 0
}
