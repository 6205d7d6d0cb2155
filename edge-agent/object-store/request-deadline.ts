import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from './object-store.ts'

const SLOWEST_BYTES_PER_SECOND = 128 * 1024

export interface RequestFacts extends CallOptions {
  /** For messages: `putting object a/b in bucket c`. */
  readonly what: string
  /** What the request's body weighs. */
  readonly bytes?: number
  /** How long it may take beside the time that its bytes take at 128 KiB a second. */
  readonly timeoutMs: number
  /** A vendor's error as `storage.*`; what is none, as it is. */
  readonly translate: (error: unknown, what: string) => unknown
}

export interface RequestOptions {
  readonly abortSignal: AbortSignal
  /** Gives the answer the time that its body takes, once its size is known. */
  readonly expectBytes: (bytes: number) => void
}

/**
 * One request to a server: rejects with the signal's reason, `storage.timeout` when the answer does not come in time, or
 * what `translate` makes of its error.
 * @param work sends with the signal that it is given, and reads the answer's body to its end
 */
export async function withRequestDeadline<T>(
  { signal, what, bytes = 0, timeoutMs, translate }: RequestFacts,
  work: (options: RequestOptions) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted()
  const deadline = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const expectBytes = (more: number): void => {
    clearTimeout(timer)
    timer = setTimeout(() => deadline.abort(), timeoutMs + Math.ceil((more * 1000) / SLOWEST_BYTES_PER_SECOND))
  }
  expectBytes(bytes)
  try {
    return await work({ abortSignal: AbortSignal.any([signal, deadline.signal]), expectBytes })
  } catch (error) {
    signal.throwIfAborted()
    if (deadline.signal.aborted) {
      throw new PlatformError('storage.timeout', `${what}: the answer did not come in time`, { cause: error })
    }
    throw translate(error, what)
  } finally {
    clearTimeout(timer)
  }
}
