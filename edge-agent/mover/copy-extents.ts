import type { Extent } from '@sendense/shared/domain/extent.ts'
import type { BlockSource, CallOptions } from '../block/block-source.ts'
import type { CopyCounters } from './copy-counters.ts'
import { ExtentWalk, type PlanExtent } from './extent-walk.ts'
import { LaneClaims } from './lane-claims.ts'
import { laneWork } from './lane-work.ts'
import { type Lane, onlyLane } from './lane.ts'
import type { PauseSwitch } from './pause-switch.ts'

export interface CopyExtentsOptions {
  readonly source: BlockSource
  /** Absent: the copy is alone. */
  readonly lane: Lane | undefined
  /** Where the copy begins. */
  readonly fromBytes: number
  readonly dirtyOnly: boolean
  /** Told of what is found in the copy's own part. */
  readonly counters: CopyCounters
  readonly pause: PauseSwitch
}

/** What one copy looks at: its disk from some byte on, or a lane's share of that. */
export class CopyExtents {
  readonly #options: CopyExtentsOptions
  #walk: ExtentWalk | undefined

  constructor(options: CopyExtentsOptions) {
    this.#options = options
  }

  /** Without overlaps. To be called once; the walks end with it. Rejects with what the source rejects with, or the signal's reason. */
  async *all(call: CallOptions): AsyncGenerator<PlanExtent, void, undefined> {
    const { source, lane = onlyLane, fromBytes } = this.#options
    const claims = lane.claims === undefined ? undefined : new LaneClaims(lane.claims)
    await using own = this.#walkOwn(lane, claims, call)
    if (claims === undefined) {
      yield* own.extents()
      return
    }
    const disk = { offsetBytes: fromBytes, lengthBytes: source.sizeBytes - fromBytes }
    yield* laneWork(own, { claims, lane: lane.index, disk, walkAgain: (range) => this.#walkAgain(range, call) })
  }

  /** Resolves when the source has answered what it was asked. While the copy is paused nothing follows. */
  async untilQuiet(): Promise<void> {
    await this.#walk?.untilQuiet()
  }

  #walkOwn(lane: Lane, claims: LaneClaims | undefined, { signal }: CallOptions): ExtentWalk {
    const { source, fromBytes, dirtyOnly, counters, pause } = this.#options
    return (this.#walk = new ExtentWalk(source, {
      fromBytes,
      lane,
      dirtyOnly,
      onFound: (range, begins) => {
        counters.add('plannedBytes', range.lengthBytes)
        counters.add('plannedExtents', begins ? 1 : 0)
        claims?.offer(range, begins)
      },
      onComplete: () => counters.set({ isPlanComplete: true }),
      pause,
      signal,
    }))
  }

  #walkAgain({ offsetBytes, lengthBytes }: Extent, { signal }: CallOptions): ExtentWalk {
    const { source, dirtyOnly, pause } = this.#options
    const range = { fromBytes: offsetBytes, toBytes: offsetBytes + lengthBytes }
    const untold = { onFound: () => undefined, onComplete: () => undefined }
    return (this.#walk = new ExtentWalk(source, { ...range, dirtyOnly, ...untold, pause, signal }))
  }
}
