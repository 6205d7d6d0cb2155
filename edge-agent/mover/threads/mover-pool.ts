import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockOpenerUrls } from '../../block/block-opener.ts'
import type { CopyOptions, CopyProgress } from '../mover.ts'
import type { MoverTask } from './mover-task.ts'
import { MoverThread } from './mover-thread.ts'

const WORKER_URL = new URL('./mover-worker.ts', import.meta.url)

export interface MoverPoolOptions {
  readonly threadsMax: number
  /** Memory of the copies of one thread. */
  readonly memoryBytesPerThread: number
  /** Who opens disks of other kinds than NBD in the threads. Absent: nobody. */
  readonly openers?: BlockOpenerUrls
  /** For tests: what the threads run. */
  readonly workerUrl?: URL
}

/** A place for one thread after another, with memory that they inherit. */
interface Slot {
  /** Made with the first thread. */
  memory?: SharedArrayBuffer
  thread?: MoverThread
  /** Copies that were given to it, those included that wait for a dead thread to be gone. */
  copyCount: number
}

/**
 * A fixed number of threads, each started when it is first needed. Every copy begins at once, on the thread that has the fewest.
 * A thread that died is replaced by the next copy.
 */
export class MoverPool implements AsyncDisposable {
  readonly #options: MoverPoolOptions
  readonly #slots: readonly Slot[]
  #isClosed = false

  constructor(options: MoverPoolOptions) {
    this.#options = options
    this.#slots = Array.from({ length: options.threadsMax }, () => ({ copyCount: 0 }))
  }

  /** Threads, started or not, that have no copy. */
  get idleCount(): number {
    return this.#slots.filter(({ copyCount }) => copyCount === 0).length
  }

  /** Rejects as MoverThread.copy; `internal.cancelled` once it was closed. */
  async copy(task: MoverTask, options: CopyOptions): Promise<CopyProgress> {
    if (this.#isClosed) throw closedError()
    const slot = this.#slots.reduce((least, other) => (other.copyCount < least.copyCount ? other : least))
    slot.copyCount += 1
    try {
      return await this.#threadOf(slot).copy(task, options)
    } catch (error) {
      if (this.#isClosed) throw closedError()
      throw error
    } finally {
      slot.copyCount -= 1
    }
  }

  /** Ends all threads; their copies reject with `internal.cancelled`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    await Promise.all(this.#slots.map(async ({ thread }) => await thread?.terminate()))
  }

  #threadOf(slot: Slot): MoverThread {
    if (slot.thread !== undefined && !slot.thread.isGone) return slot.thread
    slot.memory ??= new SharedArrayBuffer(this.#options.memoryBytesPerThread)
    const { workerUrl = WORKER_URL, openers = {} } = this.#options
    slot.thread = new MoverThread({ workerUrl, memory: slot.memory, openers })
    return slot.thread
  }
}

function closedError(): PlatformError {
  return new PlatformError('internal.cancelled', 'the mover was closed')
}
