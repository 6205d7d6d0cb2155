import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bestPlace, ThreadLoad } from './thread-load.ts'

/** A copy of a tenant comes, or of those that are there one goes. */
const anyStep = fc.oneof(
  { weight: 3, arbitrary: fc.record({ comes: fc.constantFrom('a', 'b', 'c', 'd', 'e') }) },
  { weight: 1, arbitrary: fc.record({ goes: fc.nat() }) },
)
const anyThreads = fc.integer({ min: 1, max: 8 }).map((count) => {
  return Array.from({ length: count }, () => ({ load: new ThreadLoad() }))
})

/** What a tenant has of a thread, where tenants share it equally. */
function partOf(load: ThreadLoad, tenantId: string): number {
  return load.copiesOf(tenantId) === 0 ? 0 : 1 / load.tenantCount
}

function arrive(threads: readonly { readonly load: ThreadLoad }[], tenantId: string, count = 1): ThreadLoad {
  let last = threads[0]?.load ?? new ThreadLoad()
  for (let copy = 0; copy < count; copy += 1) {
    last = bestPlace(threads, tenantId).load
    last.add(tenantId)
  }
  return last
}

describe('where copies are placed', () => {
  test('a copy goes where it gets most, whatever came and went before', () => {
    fc.assert(
      fc.property(anyThreads, fc.array(anyStep, { maxLength: 120 }), (threads, steps) => {
        const there: { readonly load: ThreadLoad; readonly tenantId: string }[] = []
        for (const step of steps) {
          if ('goes' in step) {
            const [gone] = there.splice(step.goes % Math.max(1, there.length), 1)
            gone?.load.remove(gone.tenantId)
            continue
          }
          const tenantId = step.comes
          const shares = threads.map(({ load }) => load.shareOf(tenantId))
          const { load } = bestPlace(threads, tenantId)
          expect(load.shareOf(tenantId)).toBe(Math.max(...shares))
          load.add(tenantId)
          there.push({ load, tenantId })
        }
        expect(threads.reduce((sum, { load }) => sum + load.copyCount, 0)).toBe(there.length)
        for (const { load, tenantId } of there.splice(0)) load.remove(tenantId)
        expect(threads.every(({ load }) => load.copyCount === 0 && load.tenantCount === 0)).toBe(true)
      }),
    )
  })

  test('a tenant’s only copy gets as much beside fifty of another tenant’s as beside one', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 500 }), (threadsMax, copies) => {
        const threads = Array.from({ length: threadsMax }, () => ({ load: new ThreadLoad() }))
        arrive(threads, 'large', copies)
        const place = arrive(threads, 'small')
        arrive(threads, 'large', copies)
        expect(partOf(place, 'small')).toBeGreaterThanOrEqual(1 / 2)
      }),
    )
  })

  test('tenants with one copy each are spread evenly over the threads, however many another one has', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.array(fc.nat(60), { minLength: 1, maxLength: 20 }),
        (threadsMax, batches) => {
          const threads = Array.from({ length: threadsMax }, () => ({ load: new ThreadLoad() }))
          const places = batches.map((ofLarge, index) => {
            arrive(threads, 'large', ofLarge)
            return arrive(threads, `small-${index}`)
          })
          // The large one may have come after them where it was not before.
          const least = 1 / (Math.ceil(batches.length / threadsMax) + 2)
          for (const [index, place] of places.entries()) {
            expect(partOf(place, `small-${index}`)).toBeGreaterThanOrEqual(least)
          }
        },
      ),
    )
  })

  test('a tenant that is alone has its copies spread evenly', () => {
    const threads = Array.from({ length: 4 }, () => ({ load: new ThreadLoad() }))
    arrive(threads, 'only', 50)
    expect(threads.map(({ load }) => load.copyCount).toSorted((a, b) => a - b)).toEqual([12, 12, 13, 13])
  })
})
