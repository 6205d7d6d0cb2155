/**
 * Which writes of a sink may be lost with its server: those in flight, and those that were acknowledged after the last
 * flush. Counts, no ranges: who must write again knows what he wrote since then.
 */
export class WriteLedger {
  #inFlight = 0
  #finished = 0
  #durable = 0

  /** A server that is lost now may have forgotten something, or may still be about to do it. */
  get isUncertain(): boolean {
    return this.#inFlight > 0 || this.#finished > this.#durable
  }

  /** A write goes out. */
  sent(): void {
    this.#inFlight += 1
  }

  /** It was answered, or nobody waits for its answer any more. `isDurable`: the answer says that it is on the disk. */
  finished({ isDurable }: { readonly isDurable: boolean }): void {
    this.#inFlight -= 1
    if (!isDurable) this.#finished += 1
  }

  /** To be taken before a flush goes out: what it covers. */
  mark(): number {
    return this.#finished
  }

  /** The flush before which `mark` was taken was answered. */
  flushed(mark: number): void {
    this.#durable = Math.max(this.#durable, mark)
  }
}
