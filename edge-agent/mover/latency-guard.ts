import { performance } from 'node:perf_hooks'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import type { CallOptions } from '../block/block-source.ts'
import { type GuestQueue, HangWatch } from './hang-watch.ts'
import { SharedThrottle } from './rate/shared-throttle.ts'

const NS_PER_MS = 1_000_000
const LOOK_INTERVAL_MS = 1000
/** The average of fewer operations than this is believed only when it is far beyond the limit: a guest that waits for each does few. */
const OPERATIONS_MIN = 5
const SPARSE_FACTOR = 4
const BASELINE_OPERATIONS_MIN = 20

/** What a guest has done on its disks since it was started: reads and writes, and how long all of them took together. */
export interface GuestIoCounters {
  readonly operations: number
  readonly totalTimeNs: number
  /** What is under way, queue by queue. Absent: the platform does not tell, and an operation that hangs is not seen. */
  readonly queues?: readonly GuestQueue[]
}

/** Reads the counters of all disks of one guest. Rejects as its platform does. */
export type ReadGuestIo = (options: CallOptions) => Promise<GuestIoCounters>

export interface GuardSettings {
  /** A guest whose operations take less on average is well, whatever they took before. */
  readonly latencyFloorMs: number
  /** One whose operations take so many times what they took before the copy is not. */
  readonly baselineFactor: number
  /** A copy is never slowed down below this. */
  readonly rateFloorBytesPerSecond: number
  /** Where operations of the guest hang for so long the copy is given up: guests take their disks for broken after 30 s. */
  readonly hangLimitMs: number
}

export const defaultGuardSettings: GuardSettings = {
  latencyFloorMs: 30,
  baselineFactor: 3,
  rateFloorBytesPerSecond: 4 * 1024 * 1024,
  hangLimitMs: 15_000,
}

/** How fast the copy may go. */
export interface GuardPace {
  /** Undefined: unlimited. */
  readonly bytesPerSecond: number | undefined
  /** What the copy did before it was slowed down: from there on it is unlimited again. */
  readonly beforeBytesPerSecond: number
}

export const unlimitedPace: GuardPace = { bytesPerSecond: undefined, beforeBytesPerSecond: 0 }

/** What was seen since the last look. */
export interface GuardLook {
  /** Of the guest. */
  readonly operations: number
  /** Their average. */
  readonly latencyMs: number
  /** How long others have hung. */
  readonly hungMs: number
  /** Of the copy. */
  readonly copyBytesPerSecond: number
}

/** Above this average latency a copy is slowed down. @param baselineMs before the copy; undefined: the guest did too little */
export function latencyLimitMs(baselineMs: number | undefined, settings: GuardSettings): number {
  return Math.max(settings.latencyFloorMs, (baselineMs ?? 0) * settings.baselineFactor)
}

/**
 * Additive increase, multiplicative decrease: half as fast while the guest suffers, a sixteenth more with each look when it
 * does not. Where it did too little to tell, the pace stays as it is. Pure.
 */
export function nextPace(pace: GuardPace, look: GuardLook, limitMs: number, settings: GuardSettings): GuardPace {
  const { rateFloorBytesPerSecond: floor } = settings
  const isSparse = look.operations > 0 && look.operations < OPERATIONS_MIN
  const isSlow = look.operations > 0 && look.latencyMs > limitMs * (isSparse ? SPARSE_FACTOR : 1)
  const hangs = look.hungMs > limitMs * SPARSE_FACTOR
  if (isSlow || hangs) {
    const present = Math.min(pace.bytesPerSecond ?? Infinity, look.copyBytesPerSecond)
    const before = pace.bytesPerSecond === undefined ? look.copyBytesPerSecond : pace.beforeBytesPerSecond
    return { bytesPerSecond: Math.max(floor, Math.round(present / 2)), beforeBytesPerSecond: before }
  }
  if (pace.bytesPerSecond === undefined || isSparse || look.hungMs > 0) return pace
  const more = pace.bytesPerSecond + Math.max(floor, Math.round(pace.beforeBytesPerSecond / 16))
  return more >= pace.beforeBytesPerSecond ? unlimitedPace : { ...pace, bytesPerSecond: more }
}

export interface LatencyGuardOptions {
  readonly read: ReadGuestIo
  /** What the copies of the VM read now, all together. */
  readonly copyBytesPerSecond: () => number
  readonly settings?: GuardSettings
  readonly clock?: Clock
  /** Milliseconds of a clock that never goes back. */
  readonly nowMs?: () => number
}

/** What a guard did, for people. */
export interface GuardReport {
  readonly isSlowed: boolean
  /** Times the copy was slowed down from full speed. */
  readonly slowedCount: number
  /** Undefined: it never was. */
  readonly lowestBytesPerSecond: number | undefined
  /** Highest average that was seen over one look. */
  readonly worstLatencyMs: number
  readonly limitMs: number
  /** The longest time that operations were seen to hang. */
  readonly longestHangMs: number
}

/**
 * Watches how long a guest's own disk operations take while its disks are copied, and slows the copy down when they take too
 * long, or hang. Copies keep to `throttle`, and end with `hurt`. A look that fails changes nothing.
 */
export class LatencyGuard {
  readonly throttle = new SharedThrottle()
  readonly #options: LatencyGuardOptions
  readonly #settings: GuardSettings
  #before: GuestIoCounters
  #baselineMs: number | undefined
  #pace = unlimitedPace
  #slowedCount = 0
  #lowestBytesPerSecond: number | undefined
  #worstLatencyMs = 0
  #longestHangMs = 0
  readonly #hangs = new HangWatch()
  readonly #hurt = new AbortController()

  /** @param first what `read` says now: what the guest did in all its life is what is usual, until `takeBaseline` knows better */
  constructor(options: LatencyGuardOptions, first: GuestIoCounters) {
    this.#options = options
    this.#settings = options.settings ?? defaultGuardSettings
    this.#before = first
    this.#baselineMs = averageMs(first, BASELINE_OPERATIONS_MIN)
  }

  get report(): GuardReport {
    return {
      isSlowed: this.#pace.bytesPerSecond !== undefined,
      slowedCount: this.#slowedCount,
      lowestBytesPerSecond: this.#lowestBytesPerSecond,
      worstLatencyMs: this.#worstLatencyMs,
      limitMs: latencyLimitMs(this.#baselineMs, this.#settings),
      longestHangMs: this.#longestHangMs,
    }
  }

  /** Aborts when operations of the guest hang for longer than it can bear; the reason is `source.guest_stalled`. */
  get hurt(): AbortSignal {
    return this.#hurt.signal
  }

  /** Call just before the copy: what the guest did since the guard was opened is what is usual, if it did enough. */
  async takeBaseline(call: CallOptions): Promise<void> {
    const since = await this.#lookSince(call)
    if (since !== undefined) this.#baselineMs = averageMs(since, BASELINE_OPERATIONS_MIN) ?? this.#baselineMs
  }

  /** Looks once and sets the pace. Rejects only with the signal's reason. */
  async look(call: CallOptions): Promise<void> {
    const since = await this.#lookSince(call)
    if (since === undefined) return
    const latencyMs = averageMs(since, OPERATIONS_MIN) ?? 0
    this.#worstLatencyMs = Math.max(this.#worstLatencyMs, latencyMs)
    const { operations, hungMs } = since
    this.#noteHang(hungMs)
    const seen = { operations, latencyMs, hungMs, copyBytesPerSecond: this.#options.copyBytesPerSecond() }
    this.#setPace(nextPace(this.#pace, seen, latencyLimitMs(this.#baselineMs, this.#settings), this.#settings))
  }

  /** Looks every second until the signal aborts. Never rejects. */
  async run({ signal }: CallOptions): Promise<void> {
    const { clock = systemClock } = this.#options
    while (!signal.aborted) {
      await clock.sleep(LOOK_INTERVAL_MS, { signal }).catch(() => undefined)
      if (!signal.aborted) await this.look({ signal }).catch(() => undefined)
    }
  }

  #noteHang(hungMs: number): void {
    this.#longestHangMs = Math.max(this.#longestHangMs, hungMs)
    if (hungMs < this.#settings.hangLimitMs) return
    const message =
      `disk operations of the guest have hung for ${Math.round(hungMs / 1000)} s while it was copied; the copy was given up ` +
      'before the guest takes its disks for broken'
    this.#hurt.abort(new PlatformError('source.guest_stalled', message, { details: { hungMs: Math.round(hungMs) } }))
  }

  #setPace(pace: GuardPace): void {
    const { bytesPerSecond } = pace
    if (bytesPerSecond !== undefined) {
      if (this.#pace.bytesPerSecond === undefined) this.#slowedCount += 1
      this.#lowestBytesPerSecond = Math.min(this.#lowestBytesPerSecond ?? Infinity, bytesPerSecond)
    }
    this.#pace = pace
    if (this.throttle.bytesPerSecond !== bytesPerSecond) this.throttle.setRate(bytesPerSecond)
  }

  async #lookSince(call: CallOptions): Promise<(GuestIoCounters & { readonly hungMs: number }) | undefined> {
    const { read, nowMs = () => performance.now() } = this.#options
    try {
      const now = await read(call)
      const before = this.#before
      this.#before = now
      const hungMs = this.#hangs.note(now.queues ?? [], nowMs())
      // Counters begin anew when the guest's machine is another one.
      if (now.operations < before.operations || now.totalTimeNs < before.totalTimeNs) return undefined
      return {
        operations: now.operations - before.operations,
        totalTimeNs: now.totalTimeNs - before.totalTimeNs,
        hungMs,
      }
    } catch {
      call.signal.throwIfAborted()
      return undefined
    }
  }
}

function averageMs({ operations, totalTimeNs }: GuestIoCounters, operationsMin: number): number | undefined {
  return operations < operationsMin ? undefined : totalTimeNs / operations / NS_PER_MS
}
