import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import { retryDelayMs } from '@sendense/shared/runtime/retry-delay.ts'
import type { BlockSource, CallOptions } from '../block-source.ts'

const ATTEMPTS_MAX = 5
const DELAY = { baseMs: 200, capMs: 5000 }

export interface RetryOptions {
  /** Of the disk, for errors: `disk vda`. Absent: who sees them knows. */
  readonly name?: string
  readonly clock: Clock
  /** 0 to 1. */
  readonly random: () => number
  /** Told before each further attempt. */
  readonly onRetry: (error: PlatformError) => void
  /** Default 5. */
  readonly attemptsMax?: number
}

/**
 * Reads that the medium refused are tried again a few times, after growing random delays; broken connections are not. What
 * still fails then rejects with the same code, and names disk, range and attempts in message and details. Extents pass
 * unchanged. It owns `source`.
 */
export function retryingSource(source: BlockSource, options: RetryOptions): BlockSource {
  return {
    sizeBytes: source.sizeBytes,
    extents: (range, call) => source.extents(range, call),
    read: async (offsetBytes, into, call) => await readAgain(source, offsetBytes, into, { ...options, ...call }),
    [Symbol.asyncDispose]: async () => await source[Symbol.asyncDispose](),
  }
}

async function readAgain(
  source: BlockSource,
  offsetBytes: number,
  into: Uint8Array,
  options: RetryOptions & CallOptions,
): Promise<void> {
  const { name, clock, random, onRetry, signal, attemptsMax = ATTEMPTS_MAX } = options
  for (let attempt = 1; ; attempt += 1) {
    try {
      await source.read(offsetBytes, into, { signal })
      return
    } catch (error) {
      signal.throwIfAborted()
      if (!isMediumError(error)) throw error
      if (attempt >= attemptsMax) throw named(error, name, { offsetBytes, lengthBytes: into.length, attempts: attempt })
      onRetry(error)
      await clock.sleep(retryDelayMs(attempt, { ...DELAY, random }), { signal })
    }
  }
}

function isMediumError(error: unknown): error is PlatformError {
  return isPlatformError(error, 'source.read_failed') || isPlatformError(error, 'repository.io_failed')
}

/** The range is that of the failed request where the error has it: a part of what was asked for. */
function named(
  error: PlatformError,
  name: string | undefined,
  asked: { readonly offsetBytes: number; readonly lengthBytes: number; readonly attempts: number },
): PlatformError {
  const { offsetBytes, lengthBytes } = error.details
  const exact = typeof offsetBytes === 'number' && typeof lengthBytes === 'number' ? { offsetBytes, lengthBytes } : {}
  const range = { ...asked, ...exact }
  const from = `${formatByteSize(range.lengthBytes)} from byte ${range.offsetBytes} (${formatByteSize(range.offsetBytes)})`
  const whose = name === undefined ? '' : `${name}: `
  const message = `${whose}${from} could not be read in ${asked.attempts} attempts: ${error.message}`
  return new PlatformError(error.code, message, { cause: error, details: { ...error.details, ...range } })
}
