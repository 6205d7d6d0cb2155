import { rateAt, type RateSchedule } from '@sendense/shared/domain/rate-schedule.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { SharedThrottle } from './shared-throttle.ts'

/** Schedules change by the minute. */
const MINUTE_MS = 60_000

export interface ScheduledRateOptions extends CallOptions {
  readonly clock: Clock
  /** Told of each rate as it begins to hold; undefined: unlimited. */
  readonly onRate: (bytesPerSecond: number | undefined) => void
}

/** Keeps a throttle at the rate that the schedule has for now, from the first call on, until the signal aborts. Never rejects. */
export async function keepToSchedule(
  throttle: SharedThrottle,
  schedule: RateSchedule,
  { clock, onRate, signal }: ScheduledRateOptions,
): Promise<void> {
  while (!signal.aborted) {
    const now = clock.now()
    const rate = rateAt(schedule, now)
    if (rate !== throttle.bytesPerSecond) {
      throttle.setRate(rate)
      onRate(rate)
    }
    await clock.sleep(MINUTE_MS - (now.getTime() % MINUTE_MS), { signal }).catch(() => undefined)
  }
}
