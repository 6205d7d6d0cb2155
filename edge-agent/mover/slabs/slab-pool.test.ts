import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type RunBuffer, SLAB_BYTES } from './run-buffer.ts'
import { SlabPool, type SlabShare } from './slab-pool.ts'

const call = { signal: AbortSignal.timeout(60_000) }

function poolOf(slabs: number): SlabPool {
  return new SlabPool(new SharedArrayBuffer(slabs * SLAB_BYTES))
}

function indexesOf(buffer: RunBuffer): number[] {
  return buffer.slabs.map(({ index }) => index)
}

/** Resolves when all that could be handed out was. */
async function settle(): Promise<void> {
  await new Promise(setImmediate)
}

function heldBy(shares: readonly SlabShare[]): number {
  return shares.reduce((sum, { heldCount }) => sum + heldCount, 0)
}

describe('a slab pool', () => {
  test('hands out the slab that came back last', async () => {
    const pool = poolOf(8)
    const share = pool.join({ tenantId: 'a', jobId: '1' }, { slabsPerRun: 1 })
    const buffers = [await share.acquire(call), await share.acquire(call), await share.acquire(call)]
    expect(buffers.flatMap(indexesOf)).toEqual([0, 1, 2])
    for (const buffer of buffers) share.giveBack(buffer)
    expect(indexesOf(await share.acquire(call))).toEqual([2])
  })

  test('a buffer of several slabs is one memory in pieces', async () => {
    const pool = poolOf(4)
    const share = pool.join({ tenantId: 'a', jobId: '1' }, { slabsPerRun: 3 })
    const buffer = await share.acquire(call)
    const parts = buffer.parts(SLAB_BYTES - 10, SLAB_BYTES + 20)
    expect(parts.map(({ length }) => length)).toEqual([10, SLAB_BYTES, 10])
    for (const [index, part] of parts.entries()) part.fill(index + 1)
    expect(buffer.parts(SLAB_BYTES - 1, 1)[0]?.[0]).toBe(1)
    expect(buffer.parts(2 * SLAB_BYTES + 9, 1)[0]?.[0]).toBe(3)
  })

  test('copies whose disks hang leave one buffer to each that is under way', async () => {
    const pool = poolOf(8)
    const hanging = pool.join({ tenantId: 'a', jobId: '1' }, { slabsPerRun: 1 })
    const others = ['2', '3'].map((jobId) => pool.join({ tenantId: 'a', jobId }, { slabsPerRun: 1 }))
    const held: RunBuffer[] = []
    const takeAll = async (): Promise<void> => {
      for (;;) held.push(await hanging.acquire({ signal: AbortSignal.any([call.signal, enough.signal]) }))
    }
    const enough = new AbortController()
    const taking = takeAll()
    await settle()
    expect(held.length).toBe(6)
    for (const other of others) {
      for (let round = 0; round < 3; round += 1) other.giveBack(await other.acquire(call))
    }
    enough.abort(new Error('enough'))
    await expect(taking).rejects.toThrow('enough')
  })

  test('nothing is kept for a copy that rests', async () => {
    const pool = poolOf(2)
    const resting = pool.join({ tenantId: 'a', jobId: '1' }, { slabsPerRun: 1 })
    const busy = pool.join({ tenantId: 'a', jobId: '2' }, { slabsPerRun: 1 })
    await busy.acquire(call)
    const second = busy.acquire(call)
    await settle()
    expect(pool.freeCount).toBe(1)
    resting.setResting(true)
    await second
    expect(pool.freeCount).toBe(0)
  })

  test('who needs much at once is not starved by many that need little', async () => {
    const pool = poolOf(4)
    const small = Array.from({ length: 8 }, (_, at) => pool.join({ tenantId: 's', jobId: `${at}` }, { slabsPerRun: 1 }))
    const large = pool.join({ tenantId: 'l', jobId: '1' }, { slabsPerRun: 4 })
    const seen = { rounds: 0, isLargeServed: false }
    const churn = small.map(async (share) => {
      while (!seen.isLargeServed && seen.rounds < 10_000) {
        seen.rounds += 1
        const buffer = await share.acquire(call)
        await settle()
        share.giveBack(buffer)
      }
    })
    await settle()
    const buffer = await large.acquire(call)
    seen.isLargeServed = true
    expect(seen.rounds).toBeLessThan(100)
    large.giveBack(buffer)
    await Promise.all(churn)
  })

  test('while several tenants are under way each has its part, and one buffer a copy; alone it has everything', async () => {
    const pool = poolOf(256)
    const join = (tenantId: string, count: number) => {
      return Array.from({ length: count }, (_, at) => pool.join({ tenantId, jobId: `${at}` }, { slabsPerRun: 1 }))
    }
    const enough = new AbortController()
    const fill = async (share: SlabShare): Promise<void> => {
      for (;;) await share.acquire({ signal: enough.signal })
    }
    const [large, small] = [join('large', 50), join('small', 1)]
    const filling = Promise.allSettled([...large, ...small].map(fill))
    await settle()
    expect([heldBy(large), heldBy(small)]).toEqual([50, 32])
    expect(large.every(({ heldCount }) => heldCount === 1)).toBe(true)
    // A third tenant: the parts become smaller, but nobody has to give anything back before it is done.
    const third = join('third', 1)
    const alsoFilling = Promise.allSettled(third.map(fill))
    await settle()
    expect([heldBy(large), heldBy(small), heldBy(third)]).toEqual([50, 32, 21])
    enough.abort(new Error('enough'))
    await Promise.all([filling, alsoFilling])
    for (const share of [...small, ...third]) share[Symbol.dispose]()
    const control = new AbortController()
    const alone = (async () => {
      for (;;) await large[0]?.acquire({ signal: control.signal })
    })()
    await settle()
    expect(pool.freeCount).toBe(0)
    control.abort(new Error('enough'))
    await expect(alone).rejects.toThrow('enough')
  })

  test('disposing a share gives back what it holds; a run that can never fit is refused', async () => {
    const pool = poolOf(3)
    const share = pool.join({ tenantId: 'a', jobId: '1' }, { slabsPerRun: 1 })
    await share.acquire(call)
    await share.acquire(call)
    share[Symbol.dispose]()
    share[Symbol.dispose]()
    expect(pool.freeCount).toBe(3)
    expect(() => pool.join({ tenantId: 'a', jobId: '2' }, { slabsPerRun: 4 })).toThrow('needs 4 MiB')
  })

  test('who gives up waiting gets nothing and keeps nobody waiting', async () => {
    const pool = poolOf(1)
    const [first, second] = ['1', '2'].map((jobId) => pool.join({ tenantId: 'a', jobId }, { slabsPerRun: 1 }))
    if (first === undefined || second === undefined) throw new Error('no shares')
    const buffer = await first.acquire(call)
    const control = new AbortController()
    const waiting = second.acquire({ signal: control.signal })
    control.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    expect(pool.waitingCount).toBe(0)
    first.giveBack(buffer)
    expect(pool.freeCount).toBe(1)
    await expect(second.acquire({ signal: control.signal })).rejects.toThrow('enough')
  })
})

interface Actor {
  readonly tenantId: string
  readonly jobId: string
  readonly slabsPerRun: number
  /** Turns of the event loop that each run takes. */
  readonly turns: number
  readonly window: number
}

const anyActor: fc.Arbitrary<Actor> = fc.record({
  tenantId: fc.constantFrom('a', 'b', 'c'),
  jobId: fc.constantFrom('1', '2', '3', '4', '5'),
  slabsPerRun: fc.constantFrom(1, 1, 1, 2, 4),
  turns: fc.integer({ min: 0, max: 5 }),
  window: fc.integer({ min: 1, max: 16 }),
})

describe('any copies in any pool', () => {
  test('never hold a slab twice nor more than there are, and all come to their end', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 4, max: 12 }),
        fc.array(anyActor, { minLength: 1, maxLength: 25 }),
        async (slabs, actors) => {
          const pool = poolOf(slabs)
          const inUse = new Set<number>()
          await Promise.all(actors.map(async (actor) => await play(pool, actor, inUse)))
          expect(pool.freeCount).toBe(slabs)
          expect(pool.waitingCount).toBe(0)
        },
      ),
      { numRuns: 60 },
    )
  })

  test('a tenant with one job gets as many turns as one with forty, whatever their windows', async () => {
    const pool = poolOf(8)
    const turns = { one: 0, many: 0 }
    const total = 400
    const work = async (share: SlabShare, tenant: keyof typeof turns): Promise<void> => {
      while (turns.one + turns.many < total) {
        const buffer = await share.acquire(call)
        turns[tenant] += 1
        await settle()
        share.giveBack(buffer)
      }
    }
    const lone = pool.join({ tenantId: 'one', jobId: '1' }, { slabsPerRun: 1 })
    const crowd = Array.from({ length: 40 }, (_, at) =>
      pool.join({ tenantId: 'many', jobId: `${at}` }, { slabsPerRun: 1 }),
    )
    // The lone job is given as many loops as the pool has slabs: it always waits, as the forty do.
    const loops = Array.from({ length: 8 }, () => pool.join({ tenantId: 'one', jobId: '1' }, { slabsPerRun: 1 }))
    await Promise.all([
      ...crowd.map(async (share) => await work(share, 'many')),
      ...[lone, ...loops].map(async (share) => await work(share, 'one')),
    ])
    expect(Math.abs(turns.one - turns.many)).toBeLessThan(total / 10)
  })
})

async function play(
  pool: SlabPool,
  { slabsPerRun, turns, window, ...owner }: Actor,
  inUse: Set<number>,
): Promise<void> {
  using share = pool.join(owner, { slabsPerRun })
  const underWay = new Set<Promise<void>>()
  for (let run = 0; run < 12; run += 1) {
    while (underWay.size >= window) await Promise.race(underWay)
    const buffer = await share.acquire(call)
    const indexes = indexesOf(buffer)
    expect(indexes.some((index) => inUse.has(index))).toBe(false)
    for (const index of indexes) inUse.add(index)
    const work = async (): Promise<void> => {
      for (let turn = 0; turn < turns; turn += 1) await settle()
      for (const index of indexes) inUse.delete(index)
      share.giveBack(buffer)
    }
    const working = work().finally(() => underWay.delete(working))
    underWay.add(working)
  }
  await Promise.all(underWay)
}
