import assert from 'node:assert/strict'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { BlockSource } from '../block-source.ts'

export interface ThrottleOptions {
  readonly bytesPerSecond: number
  readonly clock: Clock
}

/**
 * Lets reads begin no faster than `bytesPerSecond` over any stretch of time, whatever their size: each read takes its
 * place in a queue of time, so a large one makes the next wait longer. Extents are free. It owns `source`.
 */
export function throttledSource(source: BlockSource, { bytesPerSecond, clock }: ThrottleOptions): BlockSource {
  assert(bytesPerSecond > 0, 'a rate is positive')
  let freeAtMs = clock.now().getTime()
  return {
    sizeBytes: source.sizeBytes,
    extents: (range, options) => source.extents(range, options),
    read: async (offsetBytes, into, { signal }) => {
      signal.throwIfAborted()
      const nowMs = clock.now().getTime()
      const startMs = Math.max(nowMs, freeAtMs)
      freeAtMs = startMs + (into.length * 1000) / bytesPerSecond
      if (startMs > nowMs) await clock.sleep(startMs - nowMs, { signal })
      await source.read(offsetBytes, into, { signal })
    },
    [Symbol.asyncDispose]: async () => await source[Symbol.asyncDispose](),
  }
}
