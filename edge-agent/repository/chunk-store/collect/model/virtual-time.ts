import { setImmediate as allSettled } from 'node:timers/promises'

interface VirtualEvent {
  readonly atMs: number
  readonly order: number
  /** Whose process has to run for it to happen; undefined: it happens whatever becomes of them. */
  readonly process: VirtualProcess | undefined
  readonly happen: () => void
}

/** A process that can stand still, and die, between any two steps. */
export interface VirtualProcess {
  isDead: boolean
  /** It stands still until then. */
  suspendedUntilMs: number
  /** How long it stood still so far: its own clocks did not count that. */
  stoodStillMs: number
}

/** For tests: time that passes only by events, one at a time, in an order that is the same for the same calls. */
export class VirtualTime {
  #nowMs: number
  #order = 0
  #events: VirtualEvent[] = []

  constructor(startMs: number) {
    this.#nowMs = startMs
  }

  get nowMs(): number {
    return this.#nowMs
  }

  at(atMs: number, process: VirtualProcess | undefined, happen: () => void): void {
    this.#order += 1
    const event = { atMs: Math.max(atMs, this.#nowMs), order: this.#order, process, happen }
    let low = 0
    let high = this.#events.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const other = this.#events[middle]
      // The next one is the last of the array.
      if (other !== undefined && isBefore(event, other)) low = middle + 1
      else high = middle
    }
    this.#events.splice(low, 0, event)
  }

  /** Resolves when the process ran for so long. Rejects with the signal's reason. Never settles when it dies before. */
  async pause(process: VirtualProcess, milliseconds: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const onAbort = (): void => this.at(this.#nowMs, process, () => reject(signal.reason))
    signal.addEventListener('abort', onAbort, { once: true })
    this.at(this.#nowMs + milliseconds, process, resolve)
    try {
      await promise
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** Lets events happen until there are none before `untilMs`, or `isOver`. */
  async run(untilMs: number, isOver: () => boolean = () => false): Promise<void> {
    await allSettled()
    for (;;) {
      const next = this.#events.at(-1)
      if (next === undefined || next.atMs > untilMs || isOver()) break
      this.#events.pop()
      const { process } = next
      if (process?.isDead === true) continue
      this.#nowMs = next.atMs
      if (process !== undefined && process.suspendedUntilMs > this.#nowMs) {
        this.at(process.suspendedUntilMs, process, next.happen)
        continue
      }
      next.happen()
      // All that follows from it without waiting.
      await allSettled()
    }
    if (!isOver()) this.#nowMs = Math.max(this.#nowMs, untilMs)
  }
}

function isBefore(one: VirtualEvent, other: VirtualEvent): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order)
}
