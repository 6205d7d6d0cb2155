import { stat, statfs } from 'node:fs/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

const CHECK_EVERY_MS = 250

/** How much room the old data may take that a guest overwrites while it is backed up. */
export interface FleecingLimits {
  /** Free space that is never used up. */
  readonly minFreeBytes: number
  /** Of one session, all disks together. Absent: as much as there is. */
  readonly maxBytes?: number
}

export const defaultFleecingLimits: FleecingLimits = { minFreeBytes: 512 * 1024 * 1024 }

/** Rejects with `source.fleecing_space` when a session should not even begin in that directory. */
export async function expectFleecingSpace(dir: string, { minFreeBytes }: FleecingLimits): Promise<void> {
  const freeBytes = await freeBytesOf(dir)
  if (freeBytes >= minFreeBytes) return
  throw new PlatformError('source.fleecing_space', `only ${freeBytes} bytes are free in ${dir}`, {
    details: { freeBytes, minFreeBytes },
  })
}

/**
 * Watches the overlays of a session and calls `onTrip` once, before they could fill the file system: a guest whose
 * old data cannot be saved would get write errors (QEMU, `copy-before-write`, `on-cbw-error=break-guest-write`).
 */
export function guardFleecing(
  watched: { readonly dir: string; readonly files: readonly string[]; readonly limits: FleecingLimits },
  onTrip: (error: PlatformError) => void,
): Disposable {
  let busy = false
  let over = false
  const check = async (): Promise<void> => {
    if (busy) return
    busy = true
    const error = await findExcess(watched)
    busy = false
    if (error === undefined || over) return
    over = true
    clearInterval(timer)
    onTrip(error)
  }
  const timer = setInterval(() => void check(), CHECK_EVERY_MS)
  timer.unref()
  const stop = (): void => {
    over = true
    clearInterval(timer)
  }
  return { [Symbol.dispose]: stop }
}

async function findExcess({
  dir,
  files,
  limits,
}: {
  readonly dir: string
  readonly files: readonly string[]
  readonly limits: FleecingLimits
}): Promise<PlatformError | undefined> {
  try {
    const used = await Promise.all(files.map(async (file) => (await stat(file)).blocks * 512))
    const usedBytes = used.reduce((sum, bytes) => sum + bytes, 0)
    const freeBytes = await freeBytesOf(dir)
    const tooMuch = limits.maxBytes !== undefined && usedBytes > limits.maxBytes
    if (!tooMuch && freeBytes >= limits.minFreeBytes) return undefined
    const text = `the guest overwrote so much during its backup that ${usedBytes} bytes had to be kept, ${freeBytes} are free`
    return new PlatformError('source.fleecing_space', text, { details: { usedBytes, freeBytes } })
  } catch (error) {
    return new PlatformError('source.fleecing_space', `the room for old data in ${dir} cannot be watched`, {
      cause: error,
    })
  }
}

async function freeBytesOf(dir: string): Promise<number> {
  const { bavail, bsize } = await statfs(dir)
  return bavail * bsize
}
