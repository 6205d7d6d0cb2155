import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'

/** A multiple of every chunk size, and as much as is asked for extents at once. */
export const LANE_STRIPE_BYTES = 128 * 1024 * 1024

/** Part of a disk for one of several threads: of its stripes of 128 MiB every `count`-th, beginning with the `index`-th. */
export interface Lane {
  readonly index: number
  readonly count: number
  /** Memory of LaneClaims: who has done its part takes from others. Absent: each does its own part only. */
  readonly claims?: SharedArrayBuffer | undefined
}

/** The whole disk. */
export const onlyLane: Lane = { index: 0, count: 1 }

/** What of a range lies in the lane, in disk order, clamped to the range. The only lane has all of it in one. */
export function* stripesOf({ index, count }: Lane, range: Extent): Generator<Extent, void, undefined> {
  if (range.lengthBytes === 0) return
  if (count === 1) {
    yield range
    return
  }
  const firstStripe = Math.floor(range.offsetBytes / LANE_STRIPE_BYTES)
  const stepsToMine = (((index - firstStripe) % count) + count) % count
  for (let stripe = firstStripe + stepsToMine; stripe * LANE_STRIPE_BYTES < endOf(range); stripe += count) {
    const startBytes = Math.max(range.offsetBytes, stripe * LANE_STRIPE_BYTES)
    const endBytes = Math.min(endOf(range), (stripe + 1) * LANE_STRIPE_BYTES)
    yield { offsetBytes: startBytes, lengthBytes: endBytes - startBytes }
  }
}
