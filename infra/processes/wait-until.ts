import { setTimeout as delay } from 'node:timers/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

const PAUSE_MS = 100

export interface WaitOptions {
  readonly signal: AbortSignal
  readonly timeoutMs: number
  readonly pauseMs?: number
}

/**
 * Asks again and again until the probe answers something else than undefined or false, and returns the answer.
 * A probe that rejects counts as "not yet"; its last error is the cause of `stack.start_failed` at the deadline.
 *
 * @param what completes "waited N s for …"
 */
export async function waitUntil<T>(
  what: string,
  probe: (signal: AbortSignal) => Promise<T | undefined | false>,
  options: WaitOptions,
): Promise<T> {
  const deadline = AbortSignal.timeout(options.timeoutMs)
  const signal = AbortSignal.any([options.signal, deadline])
  let lastError: unknown
  while (!signal.aborted) {
    try {
      const answer = await probe(signal)
      if (answer !== undefined && answer !== false) return answer
    } catch (error) {
      lastError = error
    }
    await delay(options.pauseMs ?? PAUSE_MS, undefined, { signal }).catch(() => {}) // the loop's condition tells
  }
  options.signal.throwIfAborted()
  const reason = lastError instanceof Error ? `: ${lastError.message}` : ''
  throw new PlatformError('stack.start_failed', `waited ${options.timeoutMs / 1000} s for ${what}${reason}`, {
    cause: lastError,
  })
}
