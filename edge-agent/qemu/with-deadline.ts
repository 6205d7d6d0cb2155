import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'

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
