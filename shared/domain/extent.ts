import assert from './assert.ts'

/** A byte range of a disk. Both numbers are safe integers; `lengthBytes` is at least 1. */
export interface Extent {
  readonly offsetBytes: number
  readonly lengthBytes: number
}

/** First byte after the extent. */
export function endOf(extent: Extent): number {
  return extent.offsetBytes + extent.lengthBytes
}

/** Sum of all lengths, in bytes. The extents must not overlap. */
export function totalBytes(extents: Iterable<Extent>): number {
  let sum = 0
  for (const extent of extents) sum += extent.lengthBytes
  return sum
}

/**
 * The part of `extent` inside [startBytes, endBytes), or undefined where they do not meet.
 */
export function clampExtent(extent: Extent, startBytes: number, endBytes: number): Extent | undefined {
  const from = Math.max(extent.offsetBytes, startBytes)
  const to = Math.min(endOf(extent), endBytes)
  return from < to ? { offsetBytes: from, lengthBytes: to - from } : undefined
}

/** Ordered, non-overlapping extents with touching neighbours joined. Input: ordered, non-overlapping. */
export function* mergeAdjacent(extents: Iterable<Extent>): Generator<Extent> {
  let open: Extent | undefined
  for (const extent of extents) {
    if (open === undefined) {
      open = extent
      continue
    }
    assert(extent.offsetBytes >= endOf(open), 'extents must be ordered and must not overlap')
    if (extent.offsetBytes === endOf(open)) {
      open = { offsetBytes: open.offsetBytes, lengthBytes: open.lengthBytes + extent.lengthBytes }
    } else {
      yield open
      open = extent
    }
  }
  if (open !== undefined) yield open
}
