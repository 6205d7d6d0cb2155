import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { BlockOpenerUrls } from '../../block/block-opener.ts'
import type { CallOptions } from '../../block/block-source.ts'
import { newOwner } from '../copy-environment.ts'
import type { CopyOptions, CopyProgress } from '../mover.ts'
import type { MoverTask } from './mover-task.ts'
import { MoverThread } from './mover-thread.ts'
import { bestPlace, ThreadLoad } from './thread-load.ts'

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
  readonly load: ThreadLoad
}

/**
 * A fixed number of threads, each started when it is first needed. Every copy begins at once, on the thread where it gets most:
 * tenants share a thread equally, however many copies each of them has there. A thread that died is replaced by the next
 * copy, as soon as it is gone.
 */
export class MoverPool implements AsyncDisposable {
  readonly #options: MoverPoolOptions
  readonly #slots: readonly Slot[]
  #isClosed = false

  constructor(options: MoverPoolOptions) {
    this.#options = options
    this.#slots = Array.from({ length: options.threadsMax }, () => ({ load: new ThreadLoad() }))
  }

  /** Threads, started or not, that have no copy. */
  get idleCount(): number {
    return this.#slots.filter(({ load }) => load.copyCount === 0).length
  }

  /** Rejects as MoverThread.copy; `internal.cancelled` once it was closed. */
  async copy(task: MoverTask, options: CopyOptions): Promise<CopyProgress> {
    if (this.#isClosed) throw closedError()
    const { tenantId } = task.owner ?? newOwner()
    const slot = this.#slotFor(tenantId)
    slot.load.add(tenantId)
    try {
      const thread = await this.#threadOf(slot, options)
      return await thread.copy(task, options)
    } catch (error) {
      if (this.#isClosed) throw closedError()
      throw error
    } finally {
      slot.load.remove(tenantId)
    }
  }

  /** Ends all threads; their copies reject with `internal.cancelled`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    await Promise.all(this.#slots.map(async ({ thread }) => await thread?.terminate()))
  }

  /** One that can begin at once, where there is any. */
  #slotFor(tenantId: string): Slot {
    const ready = this.#slots.filter(({ thread }) => thread?.isEnding !== true)
    return bestPlace(ready.length === 0 ? this.#slots : ready, tenantId)
  }

  /** The slot's thread. Its memory is a dying one's until that is gone. Rejects with the signal's reason. */
  async #threadOf(slot: Slot, { signal }: CallOptions): Promise<MoverThread> {
    while (slot.thread?.isEnding === true) {
      const { thread } = slot
      await untilAborted(thread.gone, signal)
      if (slot.thread === thread) delete slot.thread
    }
    if (this.#isClosed) throw closedError()
    slot.memory ??= new SharedArrayBuffer(this.#options.memoryBytesPerThread)
    const { workerUrl = WORKER_URL, openers = {} } = this.#options
    slot.thread ??= new MoverThread({ workerUrl, memory: slot.memory, openers })
    return slot.thread
  }
}

function closedError(): PlatformError {
  return new PlatformError('internal.cancelled', 'the mover was closed')
}
