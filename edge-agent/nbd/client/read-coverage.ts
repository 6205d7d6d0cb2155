import { protocolViolation } from '../wire/nbd-errors.ts'

/** A server that cuts one reply into more separate ranges than this is hostile. */
const RANGES_MAX = 1024

/** Which bytes of one READ have arrived: chunks may come in any order, but never twice. */
export class ReadCoverage {
  readonly #lengthBytes: number
  #chunksLeft: number
  /** Ordered, separate, never touching. */
  #ranges: { start: number; end: number }[] = []

  /** @param chunksMax of the whole reply: 1 where it must not be fragmented */
  constructor(lengthBytes: number, chunksMax = Infinity) {
    this.#lengthBytes = lengthBytes
    this.#chunksLeft = chunksMax
  }

  /**
   * Notes that [start, end), relative to the request, arrives.
   * @throws PlatformError `nbd.protocol_violation` when it is empty, leaves the request, was there already or is one chunk
   *   too many
   */
  add(start: number, end: number): void {
    if (start < 0 || start >= end || end > this.#lengthBytes) {
      throw protocolViolation(`a chunk of bytes ${start} to ${end} answers a read of ${this.#lengthBytes}`)
    }
    this.#chunksLeft -= 1
    if (this.#chunksLeft < 0) throw protocolViolation('a read that must not be fragmented comes in pieces')
    const last = this.#ranges.at(-1)
    if (last !== undefined && last.end === start) {
      last.end = end
      return
    }
    if (last === undefined || last.end < start) this.#ranges.push({ start, end })
    else this.#insert(start, end)
    if (this.#ranges.length > RANGES_MAX) throw protocolViolation(`one read is answered in over ${RANGES_MAX} ranges`)
  }

  get isComplete(): boolean {
    const first = this.#ranges[0]
    return (
      this.#lengthBytes === 0 || (this.#ranges.length === 1 && first?.start === 0 && first.end === this.#lengthBytes)
    )
  }

  #insert(start: number, end: number): void {
    const merged: { start: number; end: number }[] = []
    let open = { start, end }
    for (const range of this.#ranges) {
      if (range.start < end && start < range.end)
        throw protocolViolation(`bytes ${start} to ${end} of a read come twice`)
      if (range.end === open.start) open = { start: range.start, end: open.end }
      else if (range.start === open.end) open = { start: open.start, end: range.end }
      else merged.push(range)
    }
    merged.push(open)
    this.#ranges = merged.toSorted((left, right) => left.start - right.start)
  }
}
