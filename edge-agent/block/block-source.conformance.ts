import { endOf, type Extent } from '@sendense/shared/domain/extent.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BlockExtent, BlockSource } from './block-source.ts'

const DEADLINE_MS = 30_000

export interface OpenedSource {
  readonly source: BlockSource
  /** What the source must read as. */
  readonly content: Uint8Array
  /** Extents that must be reported dirty; absent: all of the disk. */
  readonly dirty?: readonly Extent[]
}

/**
 * The contract of BlockSource as tests. Every driver and every layer must pass all of them.
 * @param open makes a fresh source of at least 64 KiB; the suite disposes it
 */
export function describeBlockSource(driver: string, open: () => Promise<OpenedSource>): void {
  describe(`BlockSource conformance: ${driver}`, () => {
    test('reads exactly the content, whole and at any offset and length', async () => {
      const { source, content } = await open()
      await using opened = source
      expect(opened.sizeBytes).toBe(content.length)
      const all = new Uint8Array(content.length)
      await opened.read(0, all, call())
      expect(Buffer.compare(all, content)).toBe(0)
      await fc.assert(
        fc.asyncProperty(anyRange(content.length), async ({ offsetBytes, lengthBytes }) => {
          const into = new Uint8Array(lengthBytes).fill(0xaa)
          await opened.read(offsetBytes, into, call())
          expect(Buffer.compare(into, content.subarray(offsetBytes, offsetBytes + lengthBytes))).toBe(0)
        }),
        { numRuns: 30 },
      )
    })

    test('many reads at once each get their own bytes', async () => {
      const { source, content } = await open()
      await using opened = source
      const pieceBytes = 4096
      const reads = Array.from({ length: 40 }, async (_, index) => {
        const offsetBytes = (index * 7919 * 512) % (content.length - pieceBytes)
        const into = new Uint8Array(pieceBytes)
        await opened.read(offsetBytes, into, call())
        return Buffer.compare(into, content.subarray(offsetBytes, offsetBytes + pieceBytes))
      })
      expect(await Promise.all(reads)).toEqual(reads.map(() => 0))
    })

    test('a read of nothing resolves, at the very end too', async () => {
      const { source } = await open()
      await using opened = source
      await expect(opened.read(opened.sizeBytes, new Uint8Array(0), call())).resolves.toBeUndefined()
    })

    test('extents cover any range in order, without gaps, and zero ones read as zeros', async () => {
      const { source, content, dirty } = await open()
      await using opened = source
      await fc.assert(
        fc.asyncProperty(anyRange(content.length), async (range) => {
          const extents = await collect(opened.extents(range, call()))
          expectCovers(extents, range)
          for (const extent of extents.filter(({ zero }) => zero)) {
            expect(content.subarray(extent.offsetBytes, endOf(extent)).every((byte) => byte === 0)).toBe(true)
          }
          expectDirty(extents, range, dirty ?? [range])
        }),
        { numRuns: 30 },
      )
    })

    test('a range that leaves the disk is refused', async () => {
      const { source } = await open()
      await using opened = source
      const { sizeBytes } = opened
      const refused = { code: 'input.invalid' }
      await expect(opened.read(sizeBytes - 1, new Uint8Array(2), call())).rejects.toMatchObject(refused)
      await expect(opened.read(-1, new Uint8Array(1), call())).rejects.toMatchObject(refused)
      const outside = opened.extents({ offsetBytes: sizeBytes, lengthBytes: 1 }, call())
      await expect(collect(outside)).rejects.toMatchObject(refused)
    })

    test('an aborted signal rejects with its reason and the source works on', async () => {
      const { source, content } = await open()
      await using opened = source
      const reason = new Error('enough')
      const aborted = { signal: AbortSignal.abort(reason) }
      await expect(opened.read(0, new Uint8Array(512), aborted)).rejects.toBe(reason)
      await expect(collect(opened.extents({ offsetBytes: 0, lengthBytes: 512 }, aborted))).rejects.toBe(reason)
      const control = new AbortController()
      const late = opened.read(0, new Uint8Array(65_536), { signal: control.signal })
      control.abort(reason)
      await Promise.allSettled([late])
      const into = new Uint8Array(512)
      await opened.read(0, into, call())
      expect(Buffer.compare(into, content.subarray(0, 512))).toBe(0)
    })
  })
}

async function collect(extents: AsyncIterable<BlockExtent>): Promise<BlockExtent[]> {
  return await Array.fromAsync(extents)
}

function anyRange(sizeBytes: number): fc.Arbitrary<Extent> {
  return fc
    .tuple(fc.nat(sizeBytes - 1), fc.integer({ min: 1, max: sizeBytes }))
    .map(([offsetBytes, wanted]) => ({ offsetBytes, lengthBytes: Math.min(wanted, sizeBytes - offsetBytes) }))
}

function expectCovers(extents: readonly BlockExtent[], range: Extent): void {
  let atBytes = range.offsetBytes
  for (const extent of extents) {
    expect(extent.offsetBytes).toBe(atBytes)
    expect(extent.lengthBytes).toBeGreaterThan(0)
    atBytes = endOf(extent)
  }
  expect(atBytes).toBe(endOf(range))
}

/** Never too few: whatever must be dirty in the range is. */
function expectDirty(extents: readonly BlockExtent[], range: Extent, dirty: readonly Extent[]): void {
  const clean = extents.filter((extent) => !extent.dirty)
  for (const extent of clean) {
    const missed = dirty.filter((must) => must.offsetBytes < endOf(extent) && extent.offsetBytes < endOf(must))
    expect(missed, `reported clean in ${JSON.stringify(range)}`).toEqual([])
  }
}

function call(): { readonly signal: AbortSignal } {
  return { signal: AbortSignal.timeout(DEADLINE_MS) }
}
