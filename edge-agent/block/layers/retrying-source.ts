import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import { retryDelayMs } from '@sendense/shared/runtime/retry-delay.ts'
import type { BlockExtent, BlockSource, CallOptions } from '../block-source.ts'

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
 * What the medium refused, data or extents, is asked for again a few times, after growing random delays; what a broken
 * connection refused is not. What still fails then rejects with the same code, and names disk, range and attempts in message
 * and details. Extents go on where the last one that was told of ended, and each one that comes begins the count anew. It
 * owns `source`.
 */
export function retryingSource(source: BlockSource, options: RetryOptions): BlockSource {
  return {
    sizeBytes: source.sizeBytes,
    extents: (range, call) => extentsAgain(source, range, { ...options, ...call }),
    read: (offsetBytes, into, call) => readAgain(source, offsetBytes, into, options, call),
    [Symbol.asyncDispose]: async () => await source[Symbol.asyncDispose](),
  }
}

async function readAgain(
  source: BlockSource,
  offsetBytes: number,
  into: Uint8Array,
  options: RetryOptions,
  call: CallOptions,
): Promise<void> {
  for (let attempts = 1; ; attempts += 1) {
    try {
      await source.read(offsetBytes, into, call)
      return
    } catch (error) {
      const failed = { verb: 'read', offsetBytes, lengthBytes: into.length, attempts }
      await untilNextAttempt(error, failed, { ...options, ...call })
    }
  }
}

async function* extentsAgain(
  source: BlockSource,
  range: Extent,
  options: RetryOptions & CallOptions,
): AsyncGenerator<BlockExtent, void, undefined> {
  let offsetBytes = range.offsetBytes
  for (let attempts = 1; ; attempts += 1) {
    const lengthBytes = endOf(range) - offsetBytes
    try {
      for await (const extent of source.extents({ offsetBytes, lengthBytes }, options)) {
        offsetBytes = endOf(extent)
        attempts = 1
        yield extent
      }
      return
    } catch (error) {
      const rest = { offsetBytes, lengthBytes: endOf(range) - offsetBytes }
      await untilNextAttempt(error, { verb: 'asked for its extents', ...rest, attempts }, options)
    }
  }
}

interface FailedAttempt extends Extent {
  /** What could not be done with the range. */
  readonly verb: string
  readonly attempts: number
}

/** Resolves when it is time for the next attempt. Rejects where there is none, with what to tell of. */
async function untilNextAttempt(
  error: unknown,
  failed: FailedAttempt,
  { name, clock, random, onRetry, signal, attemptsMax = ATTEMPTS_MAX }: RetryOptions & CallOptions,
): Promise<void> {
  signal.throwIfAborted()
  if (!isMediumError(error)) throw error
  if (failed.attempts >= attemptsMax) throw named(error, name, failed)
  onRetry(error)
  await clock.sleep(retryDelayMs(failed.attempts, { ...DELAY, random }), { signal })
}

function isMediumError(error: unknown): error is PlatformError {
  return isPlatformError(error, 'source.read_failed') || isPlatformError(error, 'repository.io_failed')
}

/** The range is that of the failed request where the error has it: a part of what was asked for. */
function named(error: PlatformError, name: string | undefined, { verb, ...asked }: FailedAttempt): PlatformError {
  const { offsetBytes, lengthBytes } = error.details
  const exact = typeof offsetBytes === 'number' && typeof lengthBytes === 'number' ? { offsetBytes, lengthBytes } : {}
  const range = { ...asked, ...exact }
  const from = `${formatByteSize(range.lengthBytes)} from byte ${range.offsetBytes} (${formatByteSize(range.offsetBytes)})`
  const whose = name === undefined ? '' : `${name}: `
  const message = `${whose}${from} could not be ${verb} in ${asked.attempts} attempts: ${error.message}`
  return new PlatformError(error.code, message, { cause: error, details: { ...error.details, ...range } })
}
