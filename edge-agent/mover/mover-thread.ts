import assert from 'node:assert/strict'
import { Worker } from 'node:worker_threads'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type DiskRole, type MoverTask, WorkerReport, type WorkerRequest } from './mover-task.ts'
import type { CopyOptions, CopyProgress } from './mover.ts'

/** A worker that does not end a cancelled copy in this time is terminated: a server of its disks hangs. */
const CANCEL_TIMEOUT_MS = 5000

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

interface RunningCopy {
  readonly onReport: (report: WorkerReport) => void
  readonly onGone: (error: PlatformError) => void
}

/** One worker thread: one copy at a time, any number of them one after the other. It does not keep the process alive while idle. */
export class MoverThread {
  readonly #worker: Worker
  #running: RunningCopy | undefined
  #isGone = false

  constructor() {
    this.#worker = new Worker(new URL('./mover-worker.ts', import.meta.url), { name: 'mover', execArgv: [] })
    this.#worker.unref()
    this.#worker.on('message', (message: unknown) => this.#running?.onReport(WorkerReport.parse(message)))
    this.#worker.on('error', (error) => this.#onGone(error))
    this.#worker.on('exit', () => this.#onGone(undefined))
  }

  /** Whether it can take no more copies. */
  get isGone(): boolean {
    return this.#isGone
  }

  /** Rejects with a WorkerFailure, the signal's reason, or `internal.unexpected` when the thread died. */
  async copy(task: MoverTask, { signal, onProgress }: CopyOptions): Promise<CopyProgress> {
    assert(this.#running === undefined && !this.#isGone, 'a thread copies one disk at a time')
    signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<CopyProgress>()
    const onReport = (report: WorkerReport): void => {
      if (report.type === 'progress') onProgress?.(report.progress)
      else if (report.type === 'done') resolve(report.progress)
      else reject(toFailure(report))
    }
    this.#running = { onReport, onGone: reject }
    this.#worker.ref()
    let terminating: NodeJS.Timeout | undefined
    const onAbort = (): void => {
      this.#post({ type: 'cancel' })
      terminating = setTimeout(() => void this.terminate(), CANCEL_TIMEOUT_MS)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      this.#post({ type: 'copy', task })
      return await promise
    } catch (error) {
      signal.throwIfAborted()
      throw error
    } finally {
      clearTimeout(terminating)
      signal.removeEventListener('abort', onAbort)
      this.#running = undefined
      this.#worker.unref()
    }
  }

  /** Ends the thread at once; a running copy rejects. Resolves when it is gone. */
  async terminate(): Promise<void> {
    await this.#worker.terminate()
  }

  #post(request: WorkerRequest): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker thread, not a window
    this.#worker.postMessage(request)
  }

  #onGone(cause: unknown): void {
    this.#isGone = true
    const text = cause instanceof Error ? `: ${cause.message}` : ''
    this.#running?.onGone(new PlatformError('internal.unexpected', `a mover thread ended${text}`, { cause }))
  }
}

function toFailure({ code, message, details, role }: Extract<WorkerReport, { type: 'failed' }>): WorkerFailure {
  return new WorkerFailure(new PlatformError(code, message, { details }), role)
}
