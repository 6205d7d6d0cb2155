import type { CopyProgress } from './mover.ts'

const REPORT_INTERVAL_MS = 250

type Counter = keyof CopyProgress

/** The counters of one copy, and the timer that tells of them a few times a second. */
export class CopyCounters {
  readonly #bytes: Record<Counter, number> = {
    doneBytes: 0,
    plannedBytes: 0,
    readBytes: 0,
    baseReadBytes: 0,
    writtenBytes: 0,
    zeroedBytes: 0,
  }
  #changed = false

  add(counter: Counter, bytes: number): void {
    this.#bytes[counter] += bytes
    this.#changed = true
  }

  now(): CopyProgress {
    return { ...this.#bytes }
  }

  /** Runs `work` while telling `onProgress` what changed, and once more when it resolved. */
  async report(onProgress: ((progress: CopyProgress) => void) | undefined, work: () => Promise<void>) {
    const timer = setInterval(() => {
      if (!this.#changed) return
      this.#changed = false
      onProgress?.(this.now())
    }, REPORT_INTERVAL_MS)
    try {
      await work()
    } finally {
      clearInterval(timer)
    }
    onProgress?.(this.now())
    return this.now()
  }
}
