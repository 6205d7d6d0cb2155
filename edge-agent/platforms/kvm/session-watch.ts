import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { QmpClient, QmpEvent } from '../../qemu/qmp-client.ts'
import type { SessionNames } from './session-names.ts'

const JOB_END_EVENTS = new Set(['BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED', 'BLOCK_JOB_ERROR'])

/**
 * Tells when a session can no longer be trusted: a job of its own ended before its time, or QEMU is gone. Made before
 * the session's jobs, for QEMU tells of an end only once.
 */
export class SessionWatch implements Disposable {
  readonly #lost = new AbortController()
  readonly #qmp: QmpClient
  readonly #names: SessionNames
  readonly #vmName: string
  readonly #events: Disposable

  constructor(watched: { readonly qmp: QmpClient; readonly names: SessionNames; readonly vmName: string }) {
    this.#qmp = watched.qmp
    this.#names = watched.names
    this.#vmName = watched.vmName
    this.#events = this.#qmp.subscribe((event) => this.#take(event))
    this.#qmp.closed.addEventListener('abort', this.#onDisconnect, { once: true })
    if (this.#qmp.closed.aborted) this.#onDisconnect()
  }

  /** Its reason is a PlatformError. */
  get lost(): AbortSignal {
    return this.#lost.signal
  }

  lose(error: PlatformError): void {
    this.#lost.abort(error)
  }

  [Symbol.dispose](): void {
    this.#events[Symbol.dispose]()
    this.#qmp.closed.removeEventListener('abort', this.#onDisconnect)
  }

  #take(event: QmpEvent): void {
    const device = event.data['device']
    if (typeof device !== 'string' || !device.startsWith(`${this.#names.bitmap}-`)) return
    if (!JOB_END_EVENTS.has(event.name)) return
    const text = `the backup job ${device} in QEMU ended before its time`
    this.lose(new PlatformError('source.snapshot_failed', text, { details: { event: event.name } }))
  }

  readonly #onDisconnect = (): void => {
    const text = `the VM ${this.#vmName} has gone while it was backed up`
    this.lose(new PlatformError('source.unreachable', text, { cause: this.#qmp.closed.reason }))
  }
}
