import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BlockExtent, BlockSource } from '../../block/block-source.ts'
import { cachedExtents, type ExtentLookup, joinToBlocks, liveExtents } from './extent-lookup.ts'

const signal = AbortSignal.timeout(60_000)
const WINDOW_BYTES = 128 * 1024 * 1024

/** A source of the kinds given, each for so many bytes, that counts how often it is asked. */
function sourceOf(runs: readonly Omit<BlockExtent, 'offsetBytes'>[]): BlockSource & { readonly asked: Extent[] } {
  const asked: Extent[] = []
  return {
    asked,
    sizeBytes: runs.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0),
    async *extents(range) {
      asked.push(range)
      let at = 0
      for (const run of runs) {
        const start = Math.max(at, range.offsetBytes)
        at += run.lengthBytes
        const end = Math.min(at, endOf(range))
        if (start < end) yield { ...run, offsetBytes: start, lengthBytes: end - start }
      }
    },
    read: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  }
}

const anyRuns = (max: number) =>
  fc.array(fc.record({ lengthBytes: fc.integer({ min: 1, max }), zero: fc.boolean(), dirty: fc.boolean() }), {
    minLength: 1,
    maxLength: 40,
  })

/** What is true of one byte, the way the contract puts it for blocks. */
function kindOfBlock(runs: readonly Omit<BlockExtent, 'offsetBytes'>[], blockStart: number, blockEnd: number) {
  let at = 0
  let [zero, dirty] = [true, false]
  for (const run of runs) {
    const touches = at < blockEnd && blockStart < at + run.lengthBytes
    if (touches) [zero, dirty] = [zero && run.zero, dirty || run.dirty]
    at += run.lengthBytes
  }
  return { zero, dirty }
}

describe('joinToBlocks', () => {
  test('keeps every byte, gives each block one kind, and joins neighbours', async () => {
    await fc.assert(
      fc.asyncProperty(anyRuns(30), fc.constantFrom(1, 2, 8, 64), async (runs, minimumBytes) => {
        const source = sourceOf(runs)
        const all = { offsetBytes: 0, lengthBytes: source.sizeBytes }
        const found = await Array.fromAsync(joinToBlocks(source.extents(all, { signal }), minimumBytes))
        let at = 0
        for (const [index, extent] of found.entries()) {
          expect(extent.offsetBytes).toBe(at)
          at = endOf(extent)
          expect(at % minimumBytes === 0 || at === source.sizeBytes).toBe(true)
          for (let block = extent.offsetBytes; block < at; block += minimumBytes) {
            const kind = kindOfBlock(runs, block, Math.min(block + minimumBytes, source.sizeBytes))
            expect({ zero: extent.zero, dirty: extent.dirty }).toEqual(kind)
          }
          const next = found[index + 1]
          expect(next?.zero === extent.zero && next.dirty === extent.dirty).toBe(false)
        }
        expect(at).toBe(source.sizeBytes)
      }),
      { numRuns: 300 },
    )
  })
})

const lookups: Record<string, (source: BlockSource) => ExtentLookup> = {
  live: (source) => liveExtents(source, { minimumBytes: 1 }),
  cached: (source) => cachedExtents(source, { minimumBytes: 1, signal }),
}

describe.each(Object.entries(lookups))('a %s lookup', (_, open) => {
  test('tells of any range what the source knows, joined, up to the number asked for', async () => {
    const anyPlace = fc.record({
      from: fc.double({ min: 0, max: 0.999, noNaN: true }),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
    })
    await fc.assert(
      fc.asyncProperty(
        anyRuns(WINDOW_BYTES),
        anyPlace,
        fc.integer({ min: 1, max: 50 }),
        async (runs, place, extentsMax) => {
          const source = sourceOf(runs)
          const lookup = open(source)
          const offsetBytes = Math.floor(source.sizeBytes * place.from)
          const lengthBytes = Math.max(1, Math.floor((source.sizeBytes - offsetBytes) * place.part))
          const range = { offsetBytes, lengthBytes }
          const expected = await Array.fromAsync(joinToBlocks(source.extents(range, { signal }), 1))
          expect(await lookup.list(range, { extentsMax, signal })).toEqual(expected.slice(0, extentsMax))
          expect(await lookup.list(range, { extentsMax: 1000, signal })).toEqual(expected)
        },
      ),
    )
  })
})

describe('a cached lookup', () => {
  const runs = [{ lengthBytes: 3 * WINDOW_BYTES, zero: false, dirty: true }]

  test('asks for each window once, also when many ask at once', async () => {
    const source = sourceOf(runs)
    const lookup = cachedExtents(source, { minimumBytes: 1, signal })
    const range = { offsetBytes: WINDOW_BYTES - 10, lengthBytes: 20 }
    await Promise.all(Array.from({ length: 20 }, async () => await lookup.list(range, { extentsMax: 9, signal })))
    expect(source.asked).toEqual([
      { offsetBytes: 0, lengthBytes: WINDOW_BYTES },
      { offsetBytes: WINDOW_BYTES, lengthBytes: WINDOW_BYTES },
    ])
  })

  test('a window that could not be read is asked for again', async () => {
    const source = sourceOf(runs)
    const extents = source.extents.bind(source)
    let fails = true
    const failing: BlockSource = {
      ...source,
      extents: (range, options) => {
        if (fails) throw new Error('not now')
        return extents(range, options)
      },
    }
    const lookup = cachedExtents(failing, { minimumBytes: 1, signal })
    const range = { offsetBytes: 0, lengthBytes: 10 }
    await expect(lookup.list(range, { extentsMax: 9, signal })).rejects.toThrow('not now')
    fails = false
    expect(await lookup.list(range, { extentsMax: 9, signal })).toHaveLength(1)
  })

  test('forgets the oldest windows rather than grow without bound', async () => {
    const many = Array.from({ length: 300_000 }, (_, at) => ({ lengthBytes: 512, zero: at % 2 === 0, dirty: true }))
    const filler = { lengthBytes: WINDOW_BYTES - 300_000 * 400, zero: false, dirty: true }
    const source = sourceOf([...many, filler, ...many, filler])
    const lookup = cachedExtents(source, { minimumBytes: 1, signal })
    const windows = Math.ceil(source.sizeBytes / WINDOW_BYTES)
    for (let index = 0; index < windows; index += 1) {
      await lookup.list({ offsetBytes: index * WINDOW_BYTES, lengthBytes: 1 }, { extentsMax: 1, signal })
    }
    expect(source.asked).toHaveLength(windows)
    await lookup.list({ offsetBytes: 0, lengthBytes: 1 }, { extentsMax: 1, signal })
    expect(source.asked).toHaveLength(windows + 1)
  })
})
