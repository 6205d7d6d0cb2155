import { endOf } from '@sendense/shared/domain/extent.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BlockExtent, BlockSource } from '../block/block-source.ts'
import { ExtentWalk, type PlanExtent, type WalkOptions } from './extent-walk.ts'
import { LANE_STRIPE_BYTES } from './lane.ts'
import { PauseSwitch } from './pause-switch.ts'

const signal = AbortSignal.timeout(60_000)

/** A source that has only extents, each asked for in its own turn of the event loop. */
function sourceOf(kinds: readonly (readonly [number, 'data' | 'zero' | 'clean'])[], onAsked?: (count: number) => void) {
  const extents: BlockExtent[] = []
  let sizeBytes = 0
  for (const [lengthBytes, kind] of kinds) {
    extents.push({ offsetBytes: sizeBytes, lengthBytes, zero: kind === 'zero', dirty: kind !== 'clean' })
    sizeBytes += lengthBytes
  }
  const source: BlockSource = {
    sizeBytes,
    async *extents({ offsetBytes }, options) {
      for (const [index, extent] of extents.entries()) {
        await new Promise(setImmediate)
        options.signal.throwIfAborted()
        onAsked?.(index + 1)
        if (endOf(extent) <= offsetBytes) continue
        const start = Math.max(extent.offsetBytes, offsetBytes)
        yield { ...extent, offsetBytes: start, lengthBytes: endOf(extent) - start }
      }
    },
    read: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  }
  return source
}

function walkOver(source: BlockSource, options: Partial<WalkOptions> = {}) {
  const found = { bytes: 0, extents: 0, isComplete: false }
  const walk = new ExtentWalk(source, {
    fromBytes: 0,
    dirtyOnly: true,
    pause: new PauseSwitch(),
    onFound: ({ lengthBytes }, begins) => {
      found.bytes += lengthBytes
      found.extents += begins ? 1 : 0
    },
    onComplete: () => {
      found.isComplete = true
    },
    signal,
    ...options,
  })
  return { walk, found }
}

async function collect(walk: ExtentWalk): Promise<PlanExtent[]> {
  const all: PlanExtent[] = []
  for await (const extent of walk.extents()) all.push(extent)
  return all
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise(setImmediate)
}

const anyKinds = fc.array(
  fc.tuple(fc.integer({ min: 1, max: 1000 }), fc.constantFrom('data' as const, 'zero' as const, 'clean' as const)),
  { maxLength: 60 },
)

describe('a walk over the extents of a disk', () => {
  test('gives what the source said, in order, each byte once, and counts it', async () => {
    await fc.assert(
      fc.asyncProperty(anyKinds, fc.integer({ min: 1, max: 10 }), fc.nat(3), async (kinds, extentsAheadMax, slow) => {
        const source = sourceOf(kinds)
        const { walk, found } = walkOver(source, { extentsAheadMax })
        const got = new Map<number, string>()
        let at = 0
        let begun = 0
        for await (const { offsetBytes, lengthBytes, zero, begins } of walk.extents()) {
          expect(offsetBytes).toBeGreaterThanOrEqual(at)
          for (let byte = offsetBytes; byte < offsetBytes + lengthBytes; byte += 1)
            got.set(byte, zero ? 'zero' : 'data')
          at = offsetBytes + lengthBytes
          if (begins) begun += 1
          await turns(slow)
        }
        const expected = new Map<number, string>()
        let byte = 0
        for (const [lengthBytes, kind] of kinds) {
          for (const end = byte + lengthBytes; byte < end; byte += 1) if (kind !== 'clean') expected.set(byte, kind)
        }
        expect(got).toEqual(expected)
        const dataBytes = [...expected.values()].filter((kind) => kind === 'data').length
        const joined = kinds.filter(([, kind], index) => kind === 'data' && kinds[index - 1]?.[1] !== 'data').length
        expect(found).toEqual({ bytes: dataBytes, extents: joined, isComplete: true })
        expect(begun).toBe(joined)
        await walk[Symbol.asyncDispose]()
      }),
      { numRuns: 60 },
    )
  })

  test('knows what there is to do before any of it is done, and asks once', async () => {
    let asked = 0
    const kinds = Array.from({ length: 40 }, (_, index) => [10, index % 2 === 0 ? 'data' : 'clean'] as const)
    const source = sourceOf(kinds, () => {
      asked += 1
    })
    const { walk, found } = walkOver(source)
    await turns(100)
    expect(found).toEqual({ bytes: 200, extents: 20, isComplete: true })
    expect((await collect(walk)).length).toBe(20)
    expect(asked).toBe(40)
  })

  test('goes no further ahead than it may', async () => {
    let asked = 0
    const kinds = Array.from({ length: 400 }, (_, index) => [10, index % 2 === 0 ? 'data' : 'zero'] as const)
    const source = sourceOf(kinds, (count) => {
      asked = count
    })
    const { walk } = walkOver(source, { extentsAheadMax: 16 })
    await turns(1000)
    expect(asked).toBeLessThan(20)
    expect((await collect(walk)).length).toBe(400)
    await walk[Symbol.asyncDispose]()
  })

  test('a large extent can be begun before its end is known', async () => {
    const source = sourceOf(Array.from({ length: 50 }, () => [100, 'data'] as const))
    const { walk } = walkOver(source)
    const extents = walk.extents()
    const first = await extents.next()
    expect(first.value).toMatchObject({ offsetBytes: 0, begins: true })
    const rest = await collect({ extents: () => extents } as ExtentWalk)
    expect(rest.every(({ begins }) => !begins)).toBe(true)
    expect(rest.at(-1)).toSatisfy((last: PlanExtent) => endOf(last) === 5000)
    await walk[Symbol.asyncDispose]()
  })

  test('begins where it is told to', async () => {
    const { walk, found } = walkOver(
      sourceOf([
        [100, 'data'],
        [100, 'clean'],
        [100, 'data'],
      ]),
      { fromBytes: 250 },
    )
    expect(await collect(walk)).toEqual([{ offsetBytes: 250, lengthBytes: 50, zero: false, begins: true }])
    expect(found.bytes).toBe(50)
  })

  test('asks nothing while it is paused', async () => {
    let asked = 0
    const pause = new PauseSwitch()
    const source = sourceOf(
      Array.from({ length: 50 }, () => [1, 'data'] as const),
      (count) => {
        asked = count
        if (count === 7) pause.pause()
      },
    )
    const { walk } = walkOver(source, { pause })
    await turns(100)
    await walk.untilQuiet()
    expect(asked).toBe(7)
    pause.resume()
    await collect(walk)
    expect(asked).toBe(50)
  })

  test('rejects with what the source rejects with, and ends when it is disposed, paused and full or not', async () => {
    const broken = sourceOf(
      [
        [1, 'data'],
        [1, 'zero'],
        [1, 'data'],
      ],
      (count) => {
        if (count === 3) throw new Error('broken')
      },
    )
    await expect(collect(walkOver(broken).walk)).rejects.toThrow('broken')
    const many = Array.from({ length: 50 }, (_, index) => [1, index % 2 === 0 ? 'data' : 'zero'] as const)
    const { walk: full } = walkOver(sourceOf(many), { extentsAheadMax: 4 })
    await turns(20)
    await full[Symbol.asyncDispose]()
    const pause = new PauseSwitch()
    pause.pause()
    const { walk: paused } = walkOver(sourceOf(many), { pause })
    await turns(20)
    await paused[Symbol.asyncDispose]()
    await expect(collect(paused)).rejects.toMatchObject({ code: 'internal.cancelled' })
  })

  test('a lane gives its stripes alone, where they are', async () => {
    const lengthBytes = 7 * LANE_STRIPE_BYTES + 4096
    const source = createHugeSource(lengthBytes)
    const lanes = await Promise.all(
      [0, 1, 2].map(async (index) => {
        const { walk } = walkOver(source, { dirtyOnly: false, lane: { index, count: 3 } })
        await using owned = walk
        return await Array.fromAsync(owned.extents())
      }),
    )
    for (const [index, extents] of lanes.entries()) {
      for (const { offsetBytes } of extents) expect(Math.floor(offsetBytes / LANE_STRIPE_BYTES) % 3).toBe(index)
    }
    const all = lanes.flat().toSorted((left, right) => left.offsetBytes - right.offsetBytes)
    let at = 0
    for (const extent of all) {
      expect(extent.offsetBytes).toBe(at)
      at = endOf(extent)
    }
    expect(at).toBe(lengthBytes)
  })
})

/** A disk of data that answers for what it is asked. */
function createHugeSource(sizeBytes: number): BlockSource {
  return {
    sizeBytes,
    async *extents(range) {
      yield { ...range, zero: false, dirty: true }
    },
    read: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  }
}
