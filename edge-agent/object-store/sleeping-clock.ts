import type { Clock } from '@sendense/shared/runtime/clock.ts'

/** For tests: time passes only by sleeping, and then at once. Begins now. */
export function createSleepingClock(): Clock {
  let nowMs = Date.now()
  return {
    now: () => new Date(nowMs),
    sleep: async (milliseconds, { signal }) => {
      signal.throwIfAborted()
      nowMs += milliseconds
    },
  }
}
