import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { QmpConnection, QmpEvent } from '../../qemu/qmp-connection.ts'
import { queryJobs } from './block-queries.ts'
import type { SessionNames } from './session-names.ts'

const JOB_END_EVENTS = new Set(['BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED', 'BLOCK_JOB_ERROR'])

/**
 * Tells when a session can no longer be trusted: a job of its own ended before its time, or QEMU is gone. Made before
 * the session's jobs, for QEMU tells of an end only once; what was told while the way to QEMU was cut is asked for.
 */
export class SessionWatch implements Disposable {
  readonly #lost = new AbortController()
  readonly #over = new AbortController()
  readonly #qmp: QmpConnection
  readonly #names: SessionNames
  readonly #vmName: string
  readonly #events: Disposable
  /** The jobs that must go on; known from the instant on. */
  #jobs: readonly string[] | undefined
  #missedEvents = false

  constructor(watched: { readonly qmp: QmpConnection; readonly names: SessionNames; readonly vmName: string }) {
    this.#qmp = watched.qmp
    this.#names = watched.names
    this.#vmName = watched.vmName
    this.#events = this.#qmp.subscribe({ event: (event) => this.#take(event), resumed: () => this.#resume() })
    this.#qmp.closed.addEventListener('abort', this.#onDisconnect, { once: true })
    if (this.#qmp.closed.aborted) this.#onDisconnect()
  }

  /** Its reason is a PlatformError. */
  get lost(): AbortSignal {
    return this.#lost.signal
  }

  /** From now on these jobs have to be there. */
  expectJobs(jobs: readonly string[]): void {
    this.#jobs = jobs
    if (this.#missedEvents) this.#resume()
  }

  lose(error: PlatformError): void {
    this.#lost.abort(error)
  }

  [Symbol.dispose](): void {
    this.#over.abort()
    this.#events[Symbol.dispose]()
    this.#qmp.closed.removeEventListener('abort', this.#onDisconnect)
  }

  #take(event: QmpEvent): void {
    const device = event.data['device']
    if (typeof device !== 'string' || !device.startsWith(`${this.#names.bitmap}-`)) return
    if (!JOB_END_EVENTS.has(event.name)) return
    this.lose(endedEarly(device, event.name))
  }

  #resume(): void {
    this.#missedEvents = true
    if (this.#jobs !== undefined) void this.#checkJobs(this.#jobs)
  }

  async #checkJobs(expected: readonly string[]): Promise<void> {
    try {
      const found = new Set(await queryJobs(this.#qmp, { signal: AbortSignal.any([this.lost, this.#over.signal]) }))
      const missing = expected.find((job) => !found.has(job))
      if (missing !== undefined && !this.#over.signal.aborted) this.lose(endedEarly(missing, 'unseen'))
    } catch (error) {
      if (this.lost.aborted || this.#over.signal.aborted || this.#qmp.closed.aborted) return
      const text = `the backup jobs of the VM ${this.#vmName} cannot be asked for`
      this.lose(new PlatformError('source.unreachable', text, { cause: error }))
    }
  }

  readonly #onDisconnect = (): void => {
    const text = `the VM ${this.#vmName} has gone while it was backed up`
    this.lose(new PlatformError('source.unreachable', text, { cause: this.#qmp.closed.reason }))
  }
}

function endedEarly(job: string, event: string): PlatformError {
  const text = `the backup job ${job} in QEMU ended before its time`
  return new PlatformError('source.snapshot_failed', text, { details: { event } })
}
