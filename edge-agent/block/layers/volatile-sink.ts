import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { expectOnDisk } from '../block-range.ts'
import type { BlockSink } from '../block-sink.ts'
import type { CallOptions } from '../block-source.ts'

/** @param share of the write, from its beginning, that has an effect: 0 to 1 */
type Write = (bytes: Uint8Array, share: number) => void

/** A disk with a volatile cache, as servers and drives have it. */
export interface VolatileSink extends BlockSink {
  /** What it reads as now. */
  readonly bytes: Uint8Array
  /** Writes that are not flushed. */
  readonly unflushedCount: number
  /**
   * Power fails: each write since the last flush is kept, lost, or cut off in its middle, by itself. What is under way rejects with
   * `nbd.writes_uncertain`, whether it had an effect or not. If writes may be lost so does what is called before anybody was
   * told, unless a stranger calls who knows nothing of those writes.
   */
  lose(next?: 'same' | 'stranger'): void
}

/**
 * A disk of zeros in memory that keeps only what was flushed when power fails. A flush holds for the writes that had an effect
 * when it was asked for. Every call takes a turn of the event loop.
 * @param random 0 to 1; decides what is lost
 */
export function createVolatileSink(sizeBytes: number, random: () => number): VolatileSink {
  const durable = new Uint8Array(sizeBytes)
  const present = new Uint8Array(sizeBytes)
  /** Since the last flush, in order. */
  let unflushed: Write[] = []
  let power = new AbortController()
  let isLossUntold = false
  /** The effect comes at once, the answer later: what was answered had its effect before. */
  const answer = async (effect: () => void, { signal }: CallOptions): Promise<void> => {
    signal.throwIfAborted()
    if (isLossUntold) {
      isLossUntold = false
      throw lost()
    }
    const { signal: failure } = power
    effect()
    await new Promise(setImmediate)
    if (failure.aborted) isLossUntold = false
    failure.throwIfAborted()
    signal.throwIfAborted()
  }
  const write = (change: Write): void => {
    change(present, 1)
    unflushed.push(change)
  }
  return {
    sizeBytes,
    bytes: present,
    get unflushedCount() {
      return unflushed.length
    },
    write: async (offsetBytes, bytes, options) => {
      expectOnDisk(sizeBytes, offsetBytes, bytes.length)
      const kept = Uint8Array.from(bytes)
      await answer(
        () => write((disk, share) => disk.set(kept.subarray(0, partOf(kept.length, share)), offsetBytes)),
        options,
      )
    },
    writeZeroes: async (offsetBytes, lengthBytes, options) => {
      expectOnDisk(sizeBytes, offsetBytes, lengthBytes)
      await answer(
        () => write((disk, share) => disk.fill(0, offsetBytes, offsetBytes + partOf(lengthBytes, share))),
        options,
      )
    },
    flush: async (options) => {
      await answer(() => {
        for (const change of unflushed) change(durable, 1)
        unflushed = []
      }, options)
    },
    lose(next = 'same') {
      for (const change of unflushed) change(durable, shareKept(random()))
      isLossUntold = next === 'same' && (isLossUntold || unflushed.length > 0)
      unflushed = []
      present.set(durable)
      power.abort(lost())
      power = new AbortController()
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
}

/** Lost and kept as often as not, cut off now and then. */
function shareKept(chance: number): number {
  return chance < 0.4 ? 1 : chance < 0.6 ? (chance - 0.4) / 0.2 : 0
}

function partOf(lengthBytes: number, share: number): number {
  return Math.floor(lengthBytes * share)
}

function lost(): PlatformError {
  return new PlatformError('nbd.writes_uncertain', 'the power failed')
}
