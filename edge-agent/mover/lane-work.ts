import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import type { ExtentWalk, PlanExtent } from './extent-walk.ts'
import { CLAIM_BYTES, type LaneClaims } from './lane-claims.ts'

export interface LaneWorkOptions {
  readonly claims: LaneClaims
  /** The lane's index. */
  readonly lane: number
  /** What all lanes together look at. */
  readonly disk: Extent
  /** Begins a walk over a range that another lane has walked already; it is ended here. */
  readonly walkAgain: (range: Extent) => ExtentWalk
}

/**
 * What one lane does: of its own part, in disk order, all that no other lane has taken; then what it can take from others,
 * from the end of the disk on. Rejects as the walks do.
 */
export async function* laneWork(
  own: ExtentWalk,
  { claims, lane, disk, walkAgain }: LaneWorkOptions,
): AsyncGenerator<PlanExtent, void, undefined> {
  for await (const extent of own.extents()) {
    for (const piece of cutAtClaims(extent)) if (claims.takeOwn(lane, piece.offsetBytes)) yield piece
  }
  for (const taken of claims.takeFromOthers(lane, disk)) {
    await using walk = walkAgain(taken)
    for await (const extent of walk.extents()) {
      const isAmid = taken.isAmid && extent.offsetBytes === taken.offsetBytes
      yield isAmid ? { ...extent, begins: false } : extent
    }
  }
}

function* cutAtClaims(extent: PlanExtent): Generator<PlanExtent, void, undefined> {
  for (let at = extent.offsetBytes; at < endOf(extent);) {
    const stopBytes = Math.min(endOf(extent), (Math.floor(at / CLAIM_BYTES) + 1) * CLAIM_BYTES)
    const begins = extent.begins && at === extent.offsetBytes
    yield { offsetBytes: at, lengthBytes: stopBytes - at, zero: extent.zero, begins }
    at = stopBytes
  }
}
