import type { ErrorCode } from '@sendense/shared/errors/error-codes.ts'
import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { ObjectStore } from '../object-store.ts'
import { type StoreOperation, wrapStore } from './wrap-store.ts'

/** Upper ends of the latency classes, in milliseconds; the last class has none. */
export const LATENCY_CLASSES_MS = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000] as const

export interface OperationMetrics {
  readonly calls: number
  /** Calls that rejected, by code; `aborted` for who was aborted by his caller, `other` for what has no code. */
  readonly failures: Readonly<Partial<Record<ErrorCode | 'aborted' | 'other', number>>>
  readonly sentBytes: number
  readonly receivedBytes: number
  readonly totalMs: number
  /** How many calls were in each class of LATENCY_CLASSES_MS, and how many above all of them. */
  readonly latencyCounts: readonly number[]
}

export type StoreMetrics = Readonly<Partial<Record<StoreOperation, OperationMetrics>>>

/** Counts of all calls through a store since it was made. */
export class StoreMeter {
  readonly #operations: Partial<Record<StoreOperation, OperationMetrics>> = {}

  /** As it is now; later calls do not change it. */
  snapshot(): StoreMetrics {
    return { ...this.#operations }
  }

  count(
    operation: StoreOperation,
    call: { sentBytes: number; receivedBytes: number; durationMs: number; failure?: ErrorCode | 'aborted' | 'other' },
  ): void {
    const before = this.#operations[operation]
    const { failure } = call
    const failures = before?.failures ?? {}
    const slot = LATENCY_CLASSES_MS.findIndex((endMs) => call.durationMs <= endMs)
    const latencyCounts = [...(before?.latencyCounts ?? Array.from({ length: LATENCY_CLASSES_MS.length + 1 }, () => 0))]
    const index = slot === -1 ? LATENCY_CLASSES_MS.length : slot
    latencyCounts[index] = (latencyCounts[index] ?? 0) + 1
    this.#operations[operation] = {
      calls: (before?.calls ?? 0) + 1,
      failures: failure === undefined ? failures : { ...failures, [failure]: (failures[failure] ?? 0) + 1 },
      sentBytes: (before?.sentBytes ?? 0) + call.sentBytes,
      receivedBytes: (before?.receivedBytes ?? 0) + call.receivedBytes,
      totalMs: (before?.totalMs ?? 0) + call.durationMs,
      latencyCounts,
    }
  }
}

/**
 * Tells `meter` of each call, page and try of the layers above: how it ended, its bytes and how long it took. Bytes
 * count when they were sent or came as asked. It owns `store`.
 */
export function meteredStore(
  store: ObjectStore,
  meter: StoreMeter,
  nowMs: () => number = () => performance.now(),
): ObjectStore {
  return wrapStore(store, async (call, { signal }, work) => {
    const startMs = nowMs()
    const { operation } = call
    try {
      const result = await work()
      const receivedBytes = result instanceof Uint8Array ? result.length : (call.wantedBytes ?? 0)
      meter.count(operation, { sentBytes: call.sentBytes, receivedBytes, durationMs: nowMs() - startMs })
      return result
    } catch (error) {
      const failure = signal.aborted ? 'aborted' : isPlatformError(error) ? error.code : 'other'
      meter.count(operation, { sentBytes: 0, receivedBytes: 0, durationMs: nowMs() - startMs, failure })
      throw error
    }
  })
}
