import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

/**
 * Settles as `work` does, or rejects with the signal's reason as soon as it is aborted. The work itself goes on;
 * what it rejects with later is not reported.
 */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    work.catch(() => {})
    throw signal.reason
  }
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const stop = (): void => reject(signal.reason)
  signal.addEventListener('abort', stop, { once: true })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** As `untilAborted`, and rejects with `qemu.timeout` after `timeoutMs`. `what` names the wait in the message. */
export async function withDeadline<T>(
  work: Promise<T>,
  wait: { readonly signal: AbortSignal; readonly timeoutMs: number; readonly what: string },
): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => {
    const text = `${wait.what} was not answered within ${wait.timeoutMs} ms`
    reject(new PlatformError('qemu.timeout', text, { details: { timeoutMs: wait.timeoutMs } }))
  }, wait.timeoutMs)
  try {
    return await untilAborted(Promise.race([work, late]), wait.signal)
  } finally {
    clearTimeout(timer)
  }
}
