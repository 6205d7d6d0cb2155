/** Operations that a guest has asked for on one of its queues. */
export interface GuestQueue {
  /** The same from look to look, and no other queue's. */
  readonly name: string
  /** Begun and not completed. */
  readonly underWayCount: number
  /** Another number whenever one was completed; it may begin anew. */
  readonly completedMark: number
}

interface Seen {
  readonly completedMark: number
  readonly sinceMs: number
}

/**
 * How long a guest's operations hang: nothing is completed on a queue although something is under way. An operation that began
 * just before a look is not older than that, so a hang is seen with the second look at the earliest, and taken for shorter than
 * it is. Pure.
 */
export class HangWatch {
  #seen = new Map<string, Seen>()

  /** @returns since when the longest hang was seen to last, 0 if there is none */
  note(queues: readonly GuestQueue[], nowMs: number): number {
    const seen = new Map<string, Seen>()
    let hungMs = 0
    for (const { name, underWayCount, completedMark } of queues) {
      if (underWayCount === 0) continue
      const before = this.#seen.get(name)
      const sinceMs = before?.completedMark === completedMark ? before.sinceMs : nowMs
      seen.set(name, { completedMark, sinceMs })
      hungMs = Math.max(hungMs, nowMs - sinceMs)
    }
    this.#seen = seen
    return hungMs
  }
}
