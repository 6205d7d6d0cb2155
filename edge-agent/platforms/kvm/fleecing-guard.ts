import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../../block/block-source.ts'
import type { HostSpace } from './vm-host.ts'

const CHECK_EVERY_MS = 250

/** How much room the old data may take that a guest overwrites while it is backed up. */
export interface FleecingLimits {
  /** Free space that is never used up. */
  readonly minFreeBytes: number
  /** Of one session, all disks together. Absent: as much as there is. */
  readonly maxBytes?: number
}

export const defaultFleecingLimits: FleecingLimits = { minFreeBytes: 512 * 1024 * 1024 }

/** Rejects with `source.fleecing_space` when a session should not even begin in that room. */
export function expectFleecingSpace({ dir, freeBytes }: HostSpace, { minFreeBytes }: FleecingLimits): void {
  if (freeBytes >= minFreeBytes) return
  throw new PlatformError('source.fleecing_space', `only ${freeBytes} bytes are free in ${dir}`, {
    details: { freeBytes, minFreeBytes },
  })
}

/**
 * Watches the overlays of a session and calls `onTrip` once, before they could fill the file system: a guest whose
 * old data cannot be saved would get write errors (QEMU, `copy-before-write`, `on-cbw-error=break-guest-write`). A room
 * that cannot be watched trips it too; `measure` may take as long as its host may be away.
 */
export function guardFleecing(
  watched: { readonly measure: (options: CallOptions) => Promise<HostSpace>; readonly limits: FleecingLimits },
  onTrip: (error: PlatformError) => void,
): Disposable {
  const over = new AbortController()
  let busy = false
  const check = async (): Promise<void> => {
    if (busy) return
    busy = true
    const error = await findExcess(watched, { signal: over.signal })
    busy = false
    if (error === undefined || over.signal.aborted) return
    stop()
    onTrip(error)
  }
  const timer = setInterval(() => void check(), CHECK_EVERY_MS)
  timer.unref()
  const stop = (): void => {
    over.abort()
    clearInterval(timer)
  }
  return { [Symbol.dispose]: stop }
}

async function findExcess(
  { measure, limits }: Parameters<typeof guardFleecing>[0],
  options: CallOptions,
): Promise<PlatformError | undefined> {
  try {
    const { freeBytes, scratchBytes } = await measure(options)
    const tooMuch = limits.maxBytes !== undefined && scratchBytes > limits.maxBytes
    if (!tooMuch && freeBytes >= limits.minFreeBytes) return undefined
    const text = `the guest overwrote so much during its backup that ${scratchBytes} bytes had to be kept, ${freeBytes} are free`
    return new PlatformError('source.fleecing_space', text, { details: { usedBytes: scratchBytes, freeBytes } })
  } catch (error) {
    if (isPlatformError(error, 'source.unreachable')) return error
    return new PlatformError('source.fleecing_space', 'the room for old data cannot be watched', { cause: error })
  }
}
