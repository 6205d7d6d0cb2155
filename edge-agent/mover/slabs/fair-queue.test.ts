import assert from 'node:assert/strict'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FairQueue, type FairShareOwner } from './fair-queue.ts'

interface Item extends FairShareOwner {
  readonly number: number
}

const anyOwner = fc.record({ tenantId: fc.constantFrom('a', 'b', 'c'), jobId: fc.constantFrom('1', '2', '3', '4') })
const anyStep = fc.oneof(
  { weight: 3, arbitrary: anyOwner.map((owner) => ({ kind: 'add' as const, owner })) },
  { weight: 2, arbitrary: fc.constant({ kind: 'take' as const }) },
  { weight: 1, arbitrary: fc.nat(50).map((number) => ({ kind: 'delete' as const, number })) },
)

function drain(queue: FairQueue<Item>): string[] {
  const names: string[] = []
  for (;;) {
    const item = queue.take(() => true)
    if (item === undefined) return names
    names.push(`${item.tenantId}${item.jobId}`)
  }
}

function fill(...names: readonly string[]): FairQueue<Item> {
  const queue = new FairQueue<Item>()
  for (const [number, name] of names.entries()) {
    const owner = { tenantId: name.charAt(0), jobId: name.charAt(1) }
    queue.add(owner, { ...owner, number })
  }
  return queue
}

describe('a fair queue', () => {
  test('serves tenants in turns, and the jobs of each tenant in turns', () => {
    expect(drain(fill('a1', 'a1', 'a2', 'a2', 'a3', 'b1', 'b1'))).toEqual(['a1', 'b1', 'a2', 'b1', 'a3', 'a1', 'a2'])
  })

  test('passes over who may not be served, who keeps the place', () => {
    const queue = fill('a1', 'b1', 'c1')
    expect(queue.take(({ tenantId }) => tenantId !== 'a')?.tenantId).toBe('b')
    expect(drain(queue)).toEqual(['a1', 'c1'])
    expect(queue.size).toBe(0)
  })

  test('whoever waits is served before anybody else is served twice, at both levels, and nothing is lost or doubled', () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 200 }), (steps) => {
        const queue = new FairQueue<Item>()
        const waiting = new Map<number, Item>()
        /** How often others were served while somebody waited without a break, by tenant and by job. */
        const passedOver = new Map<string, Map<string, number>>()
        const noteServed = (mine: (item: Item) => string, scope: Item[], served: Item): void => {
          const names = new Set(scope.map(mine))
          for (const name of names) {
            if (name === mine(served)) {
              passedOver.delete(name)
              continue
            }
            const counts = passedOver.get(name) ?? new Map<string, number>()
            const count = (counts.get(mine(served)) ?? 0) + 1
            counts.set(mine(served), count)
            passedOver.set(name, counts)
            expect(count).toBeLessThanOrEqual(1)
          }
        }
        let number = 0
        for (const step of steps) {
          if (step.kind === 'add') {
            const item = { ...step.owner, number }
            number += 1
            waiting.set(item.number, item)
            queue.add(step.owner, item)
          } else if (step.kind === 'delete') {
            const item = waiting.get(step.number)
            if (item === undefined) continue
            waiting.delete(item.number)
            queue.delete(item, item)
            forget(passedOver, waiting)
          } else {
            const item = queue.take(() => true)
            assert.equal(item === undefined, waiting.size === 0)
            if (item === undefined) continue
            assert(waiting.delete(item.number), 'served once, and only who waits')
            noteServed(({ tenantId }) => tenantId, [...waiting.values()], item)
            const sameTenant = [...waiting.values()].filter(({ tenantId }) => tenantId === item.tenantId)
            noteServed(({ tenantId, jobId }) => `${tenantId}${jobId}`, sameTenant, item)
            forget(passedOver, waiting)
          }
          expect(queue.size).toBe(waiting.size)
          expect([...queue.items()].length).toBe(waiting.size)
        }
      }),
      { numRuns: 500 },
    )
  })
})

/** Who waits no more begins anew later. */
function forget(passedOver: Map<string, unknown>, waiting: ReadonlyMap<number, Item>): void {
  const names = new Set([...waiting.values()].flatMap(({ tenantId, jobId }) => [tenantId, `${tenantId}${jobId}`]))
  for (const name of passedOver.keys()) if (!names.has(name)) passedOver.delete(name)
}
