import assert from 'node:assert/strict'
import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'

/** What lanes take from each other: a multiple of every chunk size, and little enough that they end together. */
export const CLAIM_BYTES = 32 * 1024 * 1024
/** One byte for each claim: 2 MiB. */
const DISK_BYTES_MAX = 64 * 1024 ** 4

const UNKNOWN = 0
const OFFERED = 1
/** Offered, and what it begins with began before it. */
const OFFERED_AMID = 2
/** By the lane with index 0, whose part it is; the other lanes follow. */
const TAKEN = 3
/** By the lane with index 0 from another one; the other lanes follow. */
const TAKEN_AWAY = 128
const LANES_MAX = TAKEN_AWAY - TAKEN

/** Part of a disk that a lane takes from another one. */
export interface TakenPart extends Extent {
  /** Whether the extent it begins with began before it. */
  readonly isAmid: boolean
}

/**
 * Which lane does which part of a disk, in memory that the lanes' threads share. Each part is its lane's, until another one that
 * has nothing left takes it first. Where a lane has not yet found data there is nothing to be had.
 */
export class LaneClaims {
  readonly memory: SharedArrayBuffer
  readonly #units: Uint8Array

  /** @param memory of `memoryFor`, the same for all lanes of a copy */
  constructor(memory: SharedArrayBuffer) {
    this.memory = memory
    this.#units = new Uint8Array(memory)
  }

  /** Undefined: the disk is so large that each lane keeps to its own part. */
  static memoryFor(sizeBytes: number): SharedArrayBuffer | undefined {
    if (sizeBytes > DISK_BYTES_MAX) return undefined
    return new SharedArrayBuffer(Math.ceil(sizeBytes / CLAIM_BYTES))
  }

  /** The lane whose part this is has found data here. `begins`: the byte before is of another extent. */
  offer(range: Extent, begins: boolean): void {
    const last = unitOf(endOf(range) - 1)
    for (let unit = unitOf(range.offsetBytes); unit <= last; unit += 1) {
      const startBytes = unit * CLAIM_BYTES
      const isAmid = startBytes > range.offsetBytes || (startBytes === range.offsetBytes && !begins)
      Atomics.compareExchange(this.#units, unit, UNKNOWN, isAmid ? OFFERED_AMID : OFFERED)
    }
  }

  /** Whether the lane may do its own part around this byte: nobody else has taken it. */
  takeOwn(lane: number, offsetBytes: number): boolean {
    assert(lane < LANES_MAX, 'lanes are few')
    const unit = unitOf(offsetBytes)
    for (;;) {
      const state = Atomics.load(this.#units, unit)
      if (state >= TAKEN) return state === TAKEN + lane
      if (Atomics.compareExchange(this.#units, unit, state, TAKEN + lane) === state) return true
    }
  }

  /**
   * Takes, from the end of the disk on, what others have offered and not begun, as far as it lies within `disk`. The lane's own
   * part is done.
   */
  *takeFromOthers(lane: number, disk: Extent): Generator<TakenPart, void, undefined> {
    for (let unit = unitOf(endOf(disk) - 1); unit >= unitOf(disk.offsetBytes); unit -= 1) {
      const state = Atomics.load(this.#units, unit)
      if (state !== OFFERED && state !== OFFERED_AMID) continue
      if (Atomics.compareExchange(this.#units, unit, state, TAKEN_AWAY + lane) !== state) continue
      const offsetBytes = Math.max(disk.offsetBytes, unit * CLAIM_BYTES)
      const endBytes = Math.min(endOf(disk), (unit + 1) * CLAIM_BYTES)
      yield { offsetBytes, lengthBytes: endBytes - offsetBytes, isAmid: state === OFFERED_AMID }
    }
  }

  /** Where the first part begins that the lane has taken from another one; Infinity: it has taken none. */
  firstTakenFromOthers(lane: number): number {
    const unit = this.#units.indexOf(TAKEN_AWAY + lane)
    return unit === -1 ? Infinity : unit * CLAIM_BYTES
  }
}

function unitOf(offsetBytes: number): number {
  return Math.floor(offsetBytes / CLAIM_BYTES)
}
