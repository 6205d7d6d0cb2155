/** Little enough to stay in the processor's caches, so that memory is used again while it is still warm. */
const COLLECT_EVERY_BYTES = 4 * 1024 * 1024

let bytesMade = 0

/**
 * Notes that `bytes` of memory were made for packets. Node makes new memory for whatever a cipher gives out, and V8,
 * which sees only the small objects that hold it, lets tens of megabytes of it lie before it looks. In a process that
 * was started with `tunnelProcessFlags` the young generation is collected every 4 MiB instead: that halves the
 * processor time of a tunnel (docs/decisions/0018). Elsewhere this does nothing.
 */
export function notePacketMemory(bytes: number): void {
  bytesMade += bytes
  if (bytesMade < COLLECT_EVERY_BYTES) return
  bytesMade = 0
  globalThis.gc?.({ type: 'minor', execution: 'sync' })
}

/** For processes whose main work is to move a tunnel's bytes. */
export const tunnelProcessFlags = ['--expose-gc', '--single-threaded-gc', '--max-semi-space-size=2'] as const
