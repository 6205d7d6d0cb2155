import assert from 'node:assert/strict'
import { isPlatformError, type PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { retryDelayMs } from '@sendense/shared/runtime/retry-delay.ts'
import type { ObjectStore } from '../object-store.ts'
import { type StoreCall, wrapStore } from './wrap-store.ts'

export interface RetryOptions {
  /** How often one call is tried, the first time included. Default 6. */
  readonly triesMax?: number
  /** Waits are random, up to this for the first and doubling up to `capMs`. Default 250 ms and 20 s. */
  readonly baseMs?: number
  readonly capMs?: number
  readonly clock?: Pick<Clock, 'sleep'>
  readonly random?: () => number
  /** Hears of each error that is tried again. */
  readonly onRetry?: (call: StoreCall, error: PlatformError, waitMs: number) => void
}

/**
 * Tries calls again whose error's advice is `backoff`; others reject at once, the last error as it is. It owns `store`.
 * Each call may have its effect more than once, which the contract of ObjectStore allows.
 */
export function retryingStore(store: ObjectStore, options: RetryOptions = {}): ObjectStore {
  const { triesMax = 6, baseMs = 250, capMs = 20_000, clock = systemClock, random = Math.random, onRetry } = options
  assert(triesMax >= 1, 'a call is tried once at least')
  return wrapStore(store, async (call, { signal }, work) => {
    for (let tries = 1; ; tries += 1) {
      try {
        return await work()
      } catch (error) {
        signal.throwIfAborted()
        if (!isPlatformError(error) || error.retry !== 'backoff' || tries >= triesMax) throw error
        const waitMs = retryDelayMs(tries - 1, { baseMs, capMs, random })
        onRetry?.(call, error, waitMs)
        await clock.sleep(waitMs, { signal })
      }
    }
  })
}
