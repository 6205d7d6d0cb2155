import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CLAIM_BYTES, LaneClaims } from '../lane-claims.ts'
import { type CopyCheckpoint, type CopyProgress, noCheckpoint, noProgress } from '../mover.ts'
import { LaneProgress } from './lane-progress.ts'

function at(offsetBytes: number, doneBytes: number): CopyCheckpoint {
  return { ...noCheckpoint, offsetBytes, doneBytes, doneExtents: 0 }
}

function progressAt(checkpoint: CopyCheckpoint, others: Partial<CopyProgress> = {}): CopyProgress {
  return { ...noProgress, ...others, checkpoint }
}

describe('progress of a copy in lanes', () => {
  test('counters are sums; it is paused only when every lane is', () => {
    const progress = new LaneProgress([noCheckpoint, noCheckpoint])
    progress.note(0, progressAt(noCheckpoint, { readBytes: 3, plannedBytes: 9, isPlanComplete: true, state: 'paused' }))
    progress.note(1, progressAt(noCheckpoint, { readBytes: 4, plannedBytes: 2, state: 'pausing' }))
    expect(progress.now()).toMatchObject({ readBytes: 7, plannedBytes: 11, isPlanComplete: false, state: 'pausing' })
    progress.note(1, progressAt(noCheckpoint, { readBytes: 4, isPlanComplete: true, state: 'paused' }))
    expect(progress.now()).toMatchObject({ isPlanComplete: true, state: 'paused' })
    progress.note(0, progressAt(noCheckpoint))
    expect(progress.now().state).toBe('running')
  })

  test('the checkpoint is not beyond what a lane has taken from another one before that lane has ended', () => {
    const memory = LaneClaims.memoryFor(10 * CLAIM_BYTES)
    if (memory === undefined) throw new Error('the disk is small')
    const claims = new LaneClaims(memory)
    const sizeBytes = 10 * CLAIM_BYTES
    const progress = new LaneProgress([noCheckpoint, noCheckpoint], claims)
    const reach = (lane: number, parts: number): void => {
      progress.note(lane, progressAt({ ...at(parts * CLAIM_BYTES, parts), sizeBytes }))
    }
    claims.offer({ offsetBytes: 0, lengthBytes: 4 * CLAIM_BYTES }, true)
    reach(1, 9)
    reach(0, 1)
    claims.takeOwn(0, 0)
    claims.takeOwn(0, CLAIM_BYTES)
    const [taken] = claims.takeFromOthers(1, { offsetBytes: 0, lengthBytes: sizeBytes })
    expect(taken?.offsetBytes).toBe(3 * CLAIM_BYTES)
    reach(0, 10)
    expect(progress.reachedBy(1)).toBe(3 * CLAIM_BYTES)
    expect(progress.now().checkpoint.offsetBytes).toBe(3 * CLAIM_BYTES)
    reach(1, 10)
    expect(progress.now().checkpoint).toMatchObject({ offsetBytes: sizeBytes, doneBytes: 20 })
  })

  test('the checkpoint is never beyond the slowest lane, and counts nothing that lies beyond it', () => {
    const anyStep = fc.record({ lane: fc.nat(2), bytes: fc.integer({ min: 1, max: 100 }), done: fc.nat(50) })
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 60 }), (steps) => {
        const history = [0, 1, 2].map(() => [at(0, 0)])
        const progress = new LaneProgress(history.map(() => at(0, 0)))
        let before = 0
        for (const { lane, bytes, done } of steps) {
          const own = history[lane] ?? []
          const last = own.at(-1) ?? at(0, 0)
          own.push(at(last.offsetBytes + bytes, last.doneBytes + done))
          progress.note(lane, progressAt(own.at(-1) ?? last))
          const slowest = Math.min(...history.map((list) => list.at(-1)?.offsetBytes ?? 0))
          const below = history.map(
            (list) => list.findLast(({ offsetBytes }) => offsetBytes <= slowest)?.doneBytes ?? 0,
          )
          const { checkpoint } = progress.now()
          expect(checkpoint.offsetBytes).toBe(slowest)
          expect(checkpoint.doneBytes).toBe(below.reduce((sum, count) => sum + count, 0))
          expect(checkpoint.offsetBytes).toBeGreaterThanOrEqual(before)
          before = checkpoint.offsetBytes
        }
      }),
    )
  })
})
