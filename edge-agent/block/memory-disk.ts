import assert from 'node:assert/strict'
import type { Extent } from '@sendense/shared/domain/extent.ts'
import { expectOnDisk } from './block-range.ts'
import type { BlockSink } from './block-sink.ts'
import type { BlockExtent, BlockSource, CallOptions } from './block-source.ts'

const GRANULARITY_BYTES = 4096

export interface MemoryDiskOptions {
  readonly sizeBytes: number
  /** First content, copied; zeros where absent. */
  readonly content?: Uint8Array
  /** What one bit of a tracker stands for. Default 4096. */
  readonly granularityBytes?: number
}

/** What changed on a memory disk since the tracker was added; keeps recording until it is removed. */
export interface ChangeTracker {
  readonly granularityBytes: number
  isDirty(offsetBytes: number): boolean
}

/** One bit's worth a byte, for each `granularityBytes` of the disk. */
class GranuleMap implements ChangeTracker {
  readonly granularityBytes: number
  readonly marks: Uint8Array

  constructor(granularityBytes: number, marks: Uint8Array) {
    this.granularityBytes = granularityBytes
    this.marks = marks
  }

  isDirty(offsetBytes: number): boolean {
    return this.isMarked(offsetBytes)
  }

  isMarked(offsetBytes: number): boolean {
    return this.marks[Math.floor(offsetBytes / this.granularityBytes)] === 1
  }

  markTouched(offsetBytes: number, lengthBytes: number, mark: 0 | 1): void {
    const first = Math.floor(offsetBytes / this.granularityBytes)
    this.marks.fill(mark, first, Math.ceil((offsetBytes + lengthBytes) / this.granularityBytes))
  }

  /** Only granules that lie wholly inside; the disk's last one may be short. */
  markCovered(offsetBytes: number, endBytes: number, sizeBytes: number): void {
    const first = Math.ceil(offsetBytes / this.granularityBytes)
    const end = endBytes === sizeBytes ? this.marks.length : Math.floor(endBytes / this.granularityBytes)
    if (first < end) this.marks.fill(1, first, end)
  }
}

/**
 * A whole disk in memory, source and sink at once, with change trackers as a hypervisor keeps them. What is written
 * is seen at once. Its own extents are all dirty; those of a frozen copy are what a tracker recorded.
 */
export class MemoryDisk implements BlockSource, BlockSink {
  readonly sizeBytes: number
  /** The live content, not a copy. Writing to it directly escapes the trackers. */
  readonly bytes: Uint8Array
  readonly #granularityBytes: number
  readonly #zero: GranuleMap
  readonly #trackers = new Set<GranuleMap>()
  readonly #dirty: GranuleMap | undefined

  constructor(options: MemoryDiskOptions, frozen: { zero?: GranuleMap; dirty?: GranuleMap } = {}) {
    const { sizeBytes, content, granularityBytes = GRANULARITY_BYTES } = options
    assert(content === undefined || content.length === sizeBytes, 'the content has the size of the disk')
    this.sizeBytes = sizeBytes
    this.bytes = new Uint8Array(sizeBytes)
    this.#granularityBytes = granularityBytes
    const count = Math.ceil(sizeBytes / granularityBytes)
    this.#zero = frozen.zero ?? new GranuleMap(granularityBytes, new Uint8Array(count).fill(content ? 0 : 1))
    this.#dirty = frozen.dirty
    if (content !== undefined) this.bytes.set(content)
  }

  /** Begins to record changes. */
  addTracker(): ChangeTracker {
    const tracker = new GranuleMap(this.#granularityBytes, new Uint8Array(this.#zero.marks.length))
    this.#trackers.add(tracker)
    return tracker
  }

  /** Stops recording; the tracker keeps what it has. */
  removeTracker(tracker: ChangeTracker): void {
    for (const known of this.#trackers) if (known === tracker) this.#trackers.delete(known)
  }

  /** The content at this instant, as a disk of its own. Its extents are dirty where `since` is, or all without it. */
  freeze(since?: ChangeTracker): MemoryDisk {
    const copyOf = (map: GranuleMap): GranuleMap => new GranuleMap(map.granularityBytes, map.marks.slice())
    assert(since === undefined || since instanceof GranuleMap, 'the tracker is one of a memory disk')
    const options = { sizeBytes: this.sizeBytes, content: this.bytes, granularityBytes: this.#granularityBytes }
    const dirty = since === undefined ? {} : { dirty: copyOf(since) }
    return new MemoryDisk(options, { zero: copyOf(this.#zero), ...dirty })
  }

  async *extents({ offsetBytes, lengthBytes }: Extent, { signal }: CallOptions): AsyncGenerator<BlockExtent> {
    signal.throwIfAborted()
    expectOnDisk(this.sizeBytes, offsetBytes, lengthBytes)
    const endBytes = offsetBytes + lengthBytes
    let startBytes = offsetBytes
    while (startBytes < endBytes) {
      signal.throwIfAborted()
      const kind = this.#kindAt(startBytes)
      let stopBytes = this.#granuleEnd(startBytes)
      while (stopBytes < endBytes && isSameKind(this.#kindAt(stopBytes), kind)) stopBytes = this.#granuleEnd(stopBytes)
      stopBytes = Math.min(stopBytes, endBytes)
      yield { offsetBytes: startBytes, lengthBytes: stopBytes - startBytes, ...kind }
      startBytes = stopBytes
    }
  }

  async read(offsetBytes: number, into: Uint8Array, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    expectOnDisk(this.sizeBytes, offsetBytes, into.length)
    into.set(this.bytes.subarray(offsetBytes, offsetBytes + into.length))
  }

  async write(offsetBytes: number, bytes: Uint8Array, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    expectOnDisk(this.sizeBytes, offsetBytes, bytes.length)
    if (bytes.length === 0) return
    this.bytes.set(bytes, offsetBytes)
    this.#zero.markTouched(offsetBytes, bytes.length, 0)
    for (const tracker of this.#trackers) tracker.markTouched(offsetBytes, bytes.length, 1)
  }

  async writeZeroes(offsetBytes: number, lengthBytes: number, { signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
    expectOnDisk(this.sizeBytes, offsetBytes, lengthBytes)
    if (lengthBytes === 0) return
    this.bytes.fill(0, offsetBytes, offsetBytes + lengthBytes)
    this.#zero.markCovered(offsetBytes, offsetBytes + lengthBytes, this.sizeBytes)
    for (const tracker of this.#trackers) tracker.markTouched(offsetBytes, lengthBytes, 1)
  }

  async flush({ signal }: CallOptions): Promise<void> {
    signal.throwIfAborted()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#trackers.clear()
  }

  #kindAt(offsetBytes: number): { zero: boolean; dirty: boolean } {
    return { zero: this.#zero.isMarked(offsetBytes), dirty: this.#dirty?.isMarked(offsetBytes) ?? true }
  }

  #granuleEnd(offsetBytes: number): number {
    return (Math.floor(offsetBytes / this.#granularityBytes) + 1) * this.#granularityBytes
  }
}

function isSameKind(left: { zero: boolean; dirty: boolean }, right: { zero: boolean; dirty: boolean }): boolean {
  return left.zero === right.zero && left.dirty === right.dirty
}

/** A disk of zeros, or with the content given. */
export function createMemoryDisk(options: MemoryDiskOptions): MemoryDisk {
  return new MemoryDisk(options)
}
