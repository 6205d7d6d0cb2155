import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { clampExtent, endOf, type Extent, mergeAdjacent, totalBytes } from './extent.ts'

/** Ordered, non-overlapping extents, touching or not. */
const anyExtents = fc.array(fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 9 })), { maxLength: 30 }).map((steps) => {
  let at = 0
  return steps.map(([gap, lengthBytes]): Extent => {
    const extent = { offsetBytes: at + gap, lengthBytes }
    at = endOf(extent)
    return extent
  })
})

function covered(extents: Iterable<Extent>): Set<number> {
  const bytes = new Set<number>()
  for (const extent of extents) for (let at = extent.offsetBytes; at < endOf(extent); at += 1) bytes.add(at)
  return bytes
}

describe('extents', () => {
  test('merging keeps every byte and leaves no touching neighbours', () => {
    fc.assert(
      fc.property(anyExtents, (extents) => {
        const merged = [...mergeAdjacent(extents)]
        expect(covered(merged)).toEqual(covered(extents))
        expect(totalBytes(merged)).toBe(totalBytes(extents))
        merged.slice(1).forEach((extent, index) => {
          expect(extent.offsetBytes).toBeGreaterThan(endOf(merged[index] ?? extent))
        })
      }),
    )
  })

  test('overlapping extents are a broken invariant', () => {
    const overlapping = [
      { offsetBytes: 0, lengthBytes: 4 },
      { offsetBytes: 3, lengthBytes: 4 },
    ]
    expect(() => [...mergeAdjacent(overlapping)]).toThrow('must not overlap')
  })

  test('clamping keeps exactly the bytes inside', () => {
    fc.assert(
      fc.property(
        fc.nat(20),
        fc.integer({ min: 1, max: 20 }),
        fc.nat(20),
        fc.nat(20),
        (offsetBytes, lengthBytes, from, to) => {
          const clamped = clampExtent({ offsetBytes, lengthBytes }, from, to)
          const inside = [...covered([{ offsetBytes, lengthBytes }])].filter((at) => at >= from && at < to)
          expect([...covered(clamped === undefined ? [] : [clamped])]).toEqual(inside)
        },
      ),
    )
  })
})
