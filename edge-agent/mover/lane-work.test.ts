import { setImmediate as nextTurn } from 'node:timers/promises'
import { endOf } from '@sendense/shared/domain/extent.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BlockSource } from '../block/block-source.ts'
import { CopyCounters } from './copy-counters.ts'
import { CopyExtents } from './copy-extents.ts'
import type { PlanExtent } from './extent-walk.ts'
import { CLAIM_BYTES, LaneClaims } from './lane-claims.ts'
import { LANE_STRIPE_BYTES } from './lane.ts'
import { noCheckpoint } from './mover.ts'
import { PauseSwitch } from './pause-switch.ts'

const MIB = 1024 * 1024
const GRAIN_BYTES = MIB / 2
const call = { signal: AbortSignal.timeout(60_000) }

type Stretch = readonly [mib: number, kind: 'data' | 'zero' | 'clean']

/** A source that has only extents, and is slow to tell of them. */
function sourceOf(stretches: readonly Stretch[]): BlockSource {
  let sizeBytes = 0
  const extents = stretches.map(([mib, kind]) => {
    const extent = { offsetBytes: sizeBytes, lengthBytes: mib * MIB, zero: kind === 'zero', dirty: kind !== 'clean' }
    sizeBytes = endOf(extent)
    return extent
  })
  return {
    sizeBytes,
    async *extents(range) {
      await nextTurn()
      for (const extent of extents) {
        const start = Math.max(extent.offsetBytes, range.offsetBytes)
        const end = Math.min(endOf(extent), endOf(range))
        if (start < end) yield { ...extent, offsetBytes: start, lengthBytes: end - start }
      }
    },
    read: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  }
}

/** Each lane's share of the disk; `turns`: how many turns of the event loop a lane takes for each piece. */
async function share(source: BlockSource, turns: readonly number[], fromBytes: number) {
  const claims = LaneClaims.memoryFor(source.sizeBytes)
  const lanes = turns.map(async (slow, index) => {
    const counters = new CopyCounters(() => 0, noCheckpoint)
    const lane = { index, count: turns.length, claims }
    const extents = new CopyExtents({ source, lane, fromBytes, dirtyOnly: true, counters, pause: new PauseSwitch() })
    const work: PlanExtent[] = []
    for await (const extent of extents.all(call)) {
      work.push(extent)
      for (let turn = 0; turn < slow; turn += 1) await nextTurn()
    }
    return { work, planned: counters.now() }
  })
  return await Promise.all(lanes)
}

const anyStretches = fc.array(
  fc.tuple(fc.integer({ min: 1, max: 300 }), fc.constantFrom('data' as const, 'zero' as const, 'clean' as const)),
  { minLength: 1, maxLength: 12 },
)
const anyTurns = fc.array(fc.nat(20), { minLength: 2, maxLength: 4 })

describe('what lanes do', () => {
  test('is all of the disk that has to be looked at, each byte once, and as much as was planned, whoever is slow', async () => {
    let takenFromOthers = 0
    await fc.assert(
      fc.asyncProperty(anyStretches, anyTurns, fc.nat(200), async (stretches, turns, fromMib) => {
        const source = sourceOf(stretches)
        const fromBytes = Math.min(source.sizeBytes, fromMib * MIB + GRAIN_BYTES)
        const lanes = await share(source, turns, fromBytes)
        const done = lanes.flatMap(({ work }) => work).toSorted((a, b) => a.offsetBytes - b.offsetBytes)
        const expected = new Map<number, string>()
        for await (const { offsetBytes, lengthBytes, zero, dirty } of source.extents(
          { offsetBytes: fromBytes, lengthBytes: source.sizeBytes - fromBytes },
          call,
        )) {
          for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += GRAIN_BYTES) {
            if (dirty) expected.set(at, zero ? 'zero' : 'data')
          }
        }
        let at = 0
        for (const { offsetBytes, lengthBytes, zero } of done) {
          expect(offsetBytes).toBeGreaterThanOrEqual(at)
          at = offsetBytes + lengthBytes
          for (let byte = offsetBytes; byte < at; byte += GRAIN_BYTES) {
            expect(expected.get(byte)).toBe(zero ? 'zero' : 'data')
            expected.delete(byte)
          }
        }
        expect([...expected.keys()]).toEqual([])
        const data = done.filter(({ zero }) => !zero)
        const planned = lanes.map((lane) => lane.planned)
        expect(sum(data.map(({ lengthBytes }) => lengthBytes))).toBe(sum(planned.map((lane) => lane.plannedBytes)))
        expect(data.filter(({ begins }) => begins)).toHaveLength(sum(planned.map((lane) => lane.plannedExtents)))
        for (const [index, { work }] of lanes.entries())
          takenFromOthers += work.filter((piece) => isForeign(piece, index, turns.length)).length
      }),
      { numRuns: 40 },
    )
    expect(takenFromOthers).toBeGreaterThan(0)
  })
})

describe('parts that lanes take from each other', () => {
  test('are had by one only, and never what their own lane has begun or not yet found', () => {
    const memory = LaneClaims.memoryFor(10 * CLAIM_BYTES)
    if (memory === undefined) throw new Error('the disk is small')
    const claims = new LaneClaims(memory)
    const disk = { offsetBytes: CLAIM_BYTES / 2, lengthBytes: 9.25 * CLAIM_BYTES }
    claims.offer({ offsetBytes: 0, lengthBytes: 4 * CLAIM_BYTES }, true)
    claims.offer({ offsetBytes: 9 * CLAIM_BYTES, lengthBytes: CLAIM_BYTES }, true)
    expect(claims.takeOwn(0, CLAIM_BYTES)).toBe(true)
    expect(claims.firstTakenFromOthers(1)).toBe(Infinity)
    expect([...claims.takeFromOthers(1, disk)]).toEqual([
      { offsetBytes: 9 * CLAIM_BYTES, lengthBytes: 0.75 * CLAIM_BYTES, isAmid: false },
      { offsetBytes: 3 * CLAIM_BYTES, lengthBytes: CLAIM_BYTES, isAmid: true },
      { offsetBytes: 2 * CLAIM_BYTES, lengthBytes: CLAIM_BYTES, isAmid: true },
      { offsetBytes: CLAIM_BYTES / 2, lengthBytes: CLAIM_BYTES / 2, isAmid: false },
    ])
    expect([...claims.takeFromOthers(2, disk)]).toEqual([])
    expect([0, 1, 2, 5].map((unit) => claims.takeOwn(0, unit * CLAIM_BYTES))).toEqual([false, true, false, true])
    expect(claims.firstTakenFromOthers(1)).toBe(0)
  })

  test('there are none on a disk that is too large to keep account of', () => {
    expect(LaneClaims.memoryFor(2 ** 50)).toBeUndefined()
  })
})

function isForeign({ offsetBytes }: PlanExtent, lane: number, count: number): boolean {
  return Math.floor(offsetBytes / LANE_STRIPE_BYTES) % count !== lane
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
