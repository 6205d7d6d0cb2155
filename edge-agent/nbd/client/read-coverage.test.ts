import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ReadCoverage } from './read-coverage.ts'

const LENGTH_BYTES = 12

/** Whether a chunk is taken; anything but a refusal is thrown on. */
function isTaken(coverage: ReadCoverage, start: number, end: number): boolean {
  try {
    coverage.add(start, end)
    return true
  } catch (error) {
    if (isPlatformError(error, 'nbd.protocol_violation')) return false
    throw error
  }
}

describe('the chunks of one read', () => {
  const anyChunk = fc.tuple(
    fc.integer({ min: -1, max: LENGTH_BYTES + 1 }),
    fc.integer({ min: -1, max: LENGTH_BYTES + 1 }),
  )

  test('are taken as long as no byte comes twice, in any order, and are complete with the last one', () => {
    fc.assert(
      fc.property(fc.array(anyChunk, { maxLength: 12 }), (chunks) => {
        const coverage = new ReadCoverage(LENGTH_BYTES)
        const marks = new Uint8Array(LENGTH_BYTES)
        for (const [start, end] of chunks) {
          const isFree = start >= 0 && start < end && end <= LENGTH_BYTES && !marks.subarray(start, end).includes(1)
          expect(isTaken(coverage, start, end)).toBe(isFree)
          if (!isFree) return
          marks.fill(1, start, end)
          expect(coverage.isComplete).toBe(!marks.includes(0))
        }
      }),
      { numRuns: 5000 },
    )
  })

  test('are no more than were allowed', () => {
    const coverage = new ReadCoverage(LENGTH_BYTES, 1)
    expect([isTaken(coverage, 0, 6), isTaken(coverage, 6, 12)]).toEqual([true, false])
  })

  test('are not so many that keeping them apart costs memory', () => {
    const coverage = new ReadCoverage(1_000_000)
    const taken = Array.from({ length: 2000 }, (_, index) => isTaken(coverage, index * 2, index * 2 + 1))
    expect(taken.indexOf(false)).toBe(1024)
  })
})
