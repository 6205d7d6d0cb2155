import { Worker } from 'node:worker_threads'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockOpenerUrls } from '../../block/block-opener.ts'
import type { CopyOptions, CopyProgress } from '../mover.ts'
import { type DiskRole, type MoverTask, type WorkerData, WorkerReport, type WorkerRequest } from './mover-task.ts'

/** A worker that does not end a cancelled copy in this time is terminated with all its copies: its event loop hangs. */
const CANCEL_TIMEOUT_MS = 20_000

/** What requests leave behind is collected early: with more than this the process only becomes larger, not faster. */
const YOUNG_GENERATION_MB = 16

/** A copy failed in the worker. The owner of the disk may know a better code for its cause. */
export class WorkerFailure extends Error {
  override readonly name = 'WorkerFailure'
  readonly failure: PlatformError
  readonly role: DiskRole | undefined

  constructor(failure: PlatformError, role: DiskRole | undefined) {
    super(failure.message, { cause: failure })
    this.failure = failure
    this.role = role
  }
}

export interface MoverThreadOptions {
  /** The script that a worker runs: `mover-worker.ts`, or a test's around it. */
  readonly workerUrl: URL
  /** What its copies share. Nobody else uses it until the thread is gone. */
  readonly memory: SharedArrayBuffer
  readonly openers: BlockOpenerUrls
}

interface RunningCopy {
  readonly onReport: (report: WorkerReport) => void
  readonly onGone: (error: PlatformError) => void
}

/** One worker thread and the copies it runs. It does not keep the process alive while it has none. */
export class MoverThread {
  /** Resolves when it is gone. */
  readonly gone: Promise<void>
  readonly #worker: Worker
  readonly #copies = new Map<number, RunningCopy>()
  #lastCopyId = 0
  #isEnding = false

  constructor({ workerUrl, memory, openers }: MoverThreadOptions) {
    const workerData: WorkerData = { memory, openers }
    const gone = Promise.withResolvers<void>()
    this.gone = gone.promise
    const resourceLimits = { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB }
    this.#worker = new Worker(workerUrl, { name: 'mover', execArgv: [], workerData, resourceLimits })
    this.#worker.unref()
    let cause: unknown
    this.#worker.on('message', (message: unknown) => {
      const report = WorkerReport.safeParse(message)
      if (report.success) {
        this.#onReport(report.data)
        return
      }
      // A thread that does not say what it should is of no more use, with all its copies.
      cause = report.error
      void this.terminate()
    })
    this.#worker.on('error', (error) => {
      cause = error
      this.#isEnding = true
    })
    this.#worker.on('exit', () => {
      this.#onGone(cause)
      gone.resolve()
    })
  }

  /** Whether it takes no more copies: it is ending, or gone. */
  get isEnding(): boolean {
    return this.#isEnding
  }

  /** Rejects with a WorkerFailure, the signal's reason, or `mover.thread_ended`. */
  async copy(task: MoverTask, { signal, onProgress, pause }: CopyOptions): Promise<CopyProgress> {
    signal.throwIfAborted()
    if (this.#isEnding) throw endedError(undefined)
    this.#lastCopyId += 1
    const copyId = this.#lastCopyId
    const { promise, resolve, reject } = Promise.withResolvers<CopyProgress>()
    const onReport = (report: WorkerReport): void => {
      if (report.type === 'progress') onProgress?.(report.progress)
      else if (report.type === 'done') resolve(report.progress)
      else reject(toFailure(report))
    }
    this.#copies.set(copyId, { onReport, onGone: reject })
    this.#worker.ref()
    let terminating: NodeJS.Timeout | undefined
    const onAbort = (): void => {
      this.#post({ type: 'cancel', copyId })
      terminating = setTimeout(() => void this.terminate(), CANCEL_TIMEOUT_MS)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    using _pausing = pause?.onChange(() => this.#post({ type: pause.isPaused ? 'pause' : 'resume', copyId }))
    try {
      this.#post({ type: 'copy', copyId, task, isPaused: pause?.isPaused ?? false })
      return await promise
    } catch (error) {
      signal.throwIfAborted()
      throw error
    } finally {
      clearTimeout(terminating)
      signal.removeEventListener('abort', onAbort)
      this.#copies.delete(copyId)
      if (this.#copies.size === 0) this.#worker.unref()
    }
  }

  /** Ends the thread at once; its copies reject. Resolves when it is gone. */
  async terminate(): Promise<void> {
    this.#isEnding = true
    await this.#worker.terminate()
    await this.gone
  }

  #post(request: WorkerRequest): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker thread, not a window
    this.#worker.postMessage(request)
  }

  /** What is said of a copy that is over comes too late to matter. */
  #onReport(report: WorkerReport): void {
    this.#copies.get(report.copyId)?.onReport(report)
  }

  #onGone(cause: unknown): void {
    this.#isEnding = true
    for (const { onGone } of this.#copies.values()) onGone(endedError(cause))
  }
}

function endedError(cause: unknown): PlatformError {
  const text = cause instanceof Error ? `: ${cause.message}` : ''
  return new PlatformError('mover.thread_ended', `the mover thread that ran this copy has ended${text}`, { cause })
}

function toFailure({ code, message, details, role }: Extract<WorkerReport, { type: 'failed' }>): WorkerFailure {
  return new WorkerFailure(new PlatformError(code, message, { details }), role)
}
