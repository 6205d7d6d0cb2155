import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { CallOptions } from '../block/block-source.ts'
import { defaultGuardSettings, type GuardSettings, LatencyGuard } from '../mover/latency-guard.ts'
import type { SharedThrottle } from '../mover/rate/shared-throttle.ts'
import type { SourceBackupSession } from '../platforms/source-connector.ts'

interface CopySpeed {
  bytesPerSecond: number
}

export interface SparingOptions extends CallOptions {
  readonly clock: Clock
  /** Absent: the defaults. */
  readonly settings?: GuardSettings | undefined
}

/**
 * Spares a guest while its disks are copied: the copies are slowed down while its own disk operations take too long, and
 * end where these hang. Does nothing where the platform tells nothing of them.
 */
export class GuestSparing implements AsyncDisposable {
  readonly #guard: LatencyGuard | undefined
  readonly #copies: CopySpeed
  readonly #end = new AbortController()
  #watching: Promise<void> | undefined

  private constructor(copies: CopySpeed, guard?: LatencyGuard) {
    this.#copies = copies
    this.#guard = guard
  }

  /** Call as soon as the session is open: what the guest does until `begin` is what is usual. Rejects only with the signal's reason. */
  static async open(
    { guestIo: read }: Pick<SourceBackupSession, 'guestIo'>,
    { clock, settings = defaultGuardSettings, signal }: SparingOptions,
  ): Promise<GuestSparing> {
    const copies = { bytesPerSecond: 0 }
    if (read === undefined) return new GuestSparing(copies)
    try {
      const copyBytesPerSecond = (): number => copies.bytesPerSecond
      const options = { read, copyBytesPerSecond, clock, settings }
      return new GuestSparing(copies, new LatencyGuard(options, await read({ signal })))
    } catch {
      signal.throwIfAborted()
      // A guest that cannot be asked is copied as ever: a backup is worth more.
      return new GuestSparing(copies)
    }
  }

  /** What the copies have to keep to. */
  get throttles(): SharedThrottle[] {
    return this.#guard === undefined ? [] : [this.#guard.throttle]
  }

  /** Ends the copies before the guest is hurt; the reason is `source.guest_stalled`. Undefined: nobody tells. */
  get hurt(): AbortSignal | undefined {
    return this.#guard?.hurt
  }

  /** Call just before the copies begin. Rejects only with the signal's reason. */
  async begin(call: CallOptions): Promise<void> {
    if (this.#guard === undefined || this.#watching !== undefined) return
    await this.#guard.takeBaseline(call)
    this.#watching = this.#guard.run({ signal: this.#end.signal })
  }

  /** How fast all copies together are now. */
  note(copyBytesPerSecond: number): void {
    this.#copies.bytesPerSecond = copyBytesPerSecond
  }

  /** For the sentence of the progress; empty while nothing is slowed down. */
  get progressNote(): string {
    return this.#guard?.report.isSlowed === true ? ', slowed down to spare the guest' : ''
  }

  /** What was done, for the log; undefined when the guest was well all the time. */
  get sentence(): string | undefined {
    const report = this.#guard?.report
    if (report?.lowestBytesPerSecond === undefined) return undefined
    const { slowedCount, lowestBytesPerSecond, worstLatencyMs, limitMs, longestHangMs } = report
    const times = slowedCount === 1 ? 'once' : `${slowedCount} times`
    const lowest = `${formatByteSize(lowestBytesPerSecond)}/s`
    return (
      `The copy was slowed down ${times} to spare the guest, at the least to ${lowest}: its disk operations took up to ` +
      `${Math.round(worstLatencyMs)} ms on average, where ${Math.round(limitMs)} ms is the limit.` +
      (longestHangMs > 0 ? ` Some hung for up to ${(longestHangMs / 1000).toFixed(1)} s.` : '')
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort(new Error('the copies have ended'))
    await this.#watching
  }
}
