import { endOf } from '@sendense/shared/domain/extent.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LANE_STRIPE_BYTES, stripesOf } from './lane.ts'

describe('lanes of a disk', () => {
  test('all lanes together are the range, each byte in exactly one, in disk order', () => {
    const anyOffset = fc.oneof(
      fc.nat(5 * LANE_STRIPE_BYTES),
      fc.constantFrom(0, LANE_STRIPE_BYTES, LANE_STRIPE_BYTES - 1),
    )
    fc.assert(
      fc.property(
        anyOffset,
        fc.nat(7 * LANE_STRIPE_BYTES),
        fc.integer({ min: 1, max: 5 }),
        (offsetBytes, lengthBytes, count) => {
          const lanes = Array.from({ length: count }, (_, index) => [
            ...stripesOf({ index, count }, { offsetBytes, lengthBytes }),
          ])
          for (const stripes of lanes) {
            expect(stripes.toSorted((a, b) => a.offsetBytes - b.offsetBytes)).toEqual(stripes)
          }
          let at = offsetBytes
          for (const stripe of lanes.flat().toSorted((a, b) => a.offsetBytes - b.offsetBytes)) {
            expect(stripe.offsetBytes).toBe(at)
            expect(stripe.lengthBytes).toBeGreaterThan(0)
            at = endOf(stripe)
          }
          expect(at).toBe(offsetBytes + lengthBytes)
        },
      ),
    )
  })

  test('a stripe belongs to the same lane wherever a copy begins', () => {
    const whole = [...stripesOf({ index: 1, count: 3 }, { offsetBytes: 0, lengthBytes: 9 * LANE_STRIPE_BYTES })]
    const start = 4 * LANE_STRIPE_BYTES + 17
    const later = [
      ...stripesOf({ index: 1, count: 3 }, { offsetBytes: start, lengthBytes: 5 * LANE_STRIPE_BYTES - 17 }),
    ]
    expect(whole.map(({ offsetBytes }) => offsetBytes / LANE_STRIPE_BYTES)).toEqual([1, 4, 7])
    expect(later.map(({ offsetBytes }) => offsetBytes)).toEqual([start, 7 * LANE_STRIPE_BYTES])
  })
})
