import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { MoverTask } from './mover-task.ts'
import { MoverThread } from './mover-thread.ts'
import type { CopyOptions, CopyProgress } from './mover.ts'

/** Copies that may wait for a thread; callers bound their jobs well below. */
const WAITING_MAX = 1000

interface Waiting {
  readonly take: (thread: MoverThread) => void
  readonly refuse: (error: unknown) => void
}

/** At most `threadsMax` threads, started when needed and used again; copies wait their turn in order. */
export class MoverPool implements AsyncDisposable {
  readonly #threadsMax: number
  readonly #threads = new Set<MoverThread>()
  readonly #idle: MoverThread[] = []
  readonly #waiting = new Set<Waiting>()
  #isClosed = false

  constructor(threadsMax: number) {
    this.#threadsMax = threadsMax
  }

  /** Rejects as MoverThread.copy. */
  async copy(task: MoverTask, options: CopyOptions): Promise<CopyProgress> {
    const thread = await this.#take(options.signal)
    try {
      return await thread.copy(task, options)
    } finally {
      this.#giveBack(thread)
    }
  }

  /** Ends all threads; copies that run or wait reject. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    for (const { refuse } of this.#waiting) refuse(closedError())
    this.#waiting.clear()
    await Promise.all([...this.#threads].map(async (thread) => await thread.terminate()))
    this.#threads.clear()
  }

  async #take(signal: AbortSignal): Promise<MoverThread> {
    signal.throwIfAborted()
    if (this.#isClosed) throw closedError()
    const thread = this.#idle.pop()
    if (thread !== undefined) return thread
    if (this.#threads.size < this.#threadsMax) return this.#start()
    if (this.#waiting.size >= WAITING_MAX) throw new PlatformError('internal.unexpected', 'too many copies wait')
    const { promise, resolve, reject } = Promise.withResolvers<MoverThread>()
    const waiting = { take: resolve, refuse: reject }
    this.#waiting.add(waiting)
    const onAbort = (): void => {
      this.#waiting.delete(waiting)
      reject(signal.reason)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      return await promise
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  #start(): MoverThread {
    const thread = new MoverThread()
    this.#threads.add(thread)
    return thread
  }

  /** To who waits longest, or to the idle ones; a thread that is gone is replaced. */
  #giveBack(thread: MoverThread): void {
    if (thread.isGone) this.#threads.delete(thread)
    if (this.#isClosed) return
    const [next] = this.#waiting
    if (next === undefined) {
      if (!thread.isGone) this.#idle.push(thread)
      return
    }
    this.#waiting.delete(next)
    next.take(thread.isGone ? this.#start() : thread)
  }
}

function closedError(): PlatformError {
  return new PlatformError('internal.cancelled', 'the mover was closed')
}
