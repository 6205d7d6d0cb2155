import type { Extent } from '@sendense/shared/domain/extent.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BlockSink } from './block-sink.ts'

const DEADLINE_MS = 30_000

export interface OpenedSink {
  readonly sink: BlockSink
  /** What it reads as before anything is written; absent: zeros. */
  readonly before?: Uint8Array
  /** All of the disk, as somebody else sees it after a flush. */
  readonly readBack: () => Promise<Uint8Array>
}

interface SinkStep extends Extent {
  readonly kind: 'write' | 'zero'
  readonly fill: number
}

/**
 * The contract of BlockSink as tests. Every driver and every layer must pass all of them.
 * @param open makes a fresh sink of at least 64 KiB; the suite disposes it
 */
export function describeBlockSink(driver: string, open: () => Promise<OpenedSink>): void {
  describe(`BlockSink conformance: ${driver}`, () => {
    test('holds what was written and zeroed, at any offset, and leaves the rest as it was', async () => {
      const opened = await open()
      await using sink = opened.sink
      const model = Uint8Array.from(opened.before ?? new Uint8Array(sink.sizeBytes))
      expect(model.length).toBe(sink.sizeBytes)
      await fc.assert(
        fc.asyncProperty(anySteps(sink.sizeBytes), async (steps) => {
          for (const step of steps) await apply(sink, model, step, call())
          await sink.flush(call())
          expect(firstDifference(await opened.readBack(), model)).toBe(-1)
        }),
        { numRuns: 12 },
      )
    })

    test('many writes at once all arrive', async () => {
      const opened = await open()
      await using sink = opened.sink
      const model = Uint8Array.from(opened.before ?? new Uint8Array(sink.sizeBytes))
      const pieceBytes = 1024
      const count = Math.min(40, Math.floor(sink.sizeBytes / pieceBytes))
      const writes = Array.from({ length: count }, async (_, index) => {
        const kind = index % 3 === 2 ? 'zero' : 'write'
        const step = { kind, offsetBytes: index * pieceBytes, lengthBytes: pieceBytes, fill: index + 1 } as const
        await apply(sink, model, step, call())
      })
      await Promise.all(writes)
      await sink.flush(call())
      expect(firstDifference(await opened.readBack(), model)).toBe(-1)
    })

    test('the buffer is the caller’s again when a write settles', async () => {
      const opened = await open()
      await using sink = opened.sink
      const bytes = new Uint8Array(32_768).fill(0x5a)
      await sink.write(0, bytes, call())
      bytes.fill(0xff)
      await sink.flush(call())
      expect((await opened.readBack()).subarray(0, 32_768).every((byte) => byte === 0x5a)).toBe(true)
    })

    test('zeroing what was written reads as zeros', async () => {
      const opened = await open()
      await using sink = opened.sink
      await sink.write(0, new Uint8Array(sink.sizeBytes).fill(0x11), call())
      await sink.flush(call())
      await sink.writeZeroes(0, sink.sizeBytes, call())
      await sink.flush(call())
      expect((await opened.readBack()).every((byte) => byte === 0)).toBe(true)
    })

    test('a range that leaves the disk is refused and changes nothing', async () => {
      const opened = await open()
      await using sink = opened.sink
      const { sizeBytes } = sink
      const before = await opened.readBack()
      const refused = { code: 'input.invalid' }
      await expect(sink.write(sizeBytes - 1, Uint8Array.of(1, 2), call())).rejects.toMatchObject(refused)
      await expect(sink.write(-1, Uint8Array.of(1), call())).rejects.toMatchObject(refused)
      await expect(sink.writeZeroes(sizeBytes - 1, 2, call())).rejects.toMatchObject(refused)
      expect(firstDifference(await opened.readBack(), before)).toBe(-1)
    })

    test('writing nothing resolves, at the very end too', async () => {
      await using sink = (await open()).sink
      await expect(sink.write(sink.sizeBytes, new Uint8Array(0), call())).resolves.toBeUndefined()
      await expect(sink.writeZeroes(sink.sizeBytes, 0, call())).resolves.toBeUndefined()
    })

    test('an aborted signal rejects with its reason and the sink works on', async () => {
      const opened = await open()
      await using sink = opened.sink
      const reason = new Error('enough')
      const aborted = { signal: AbortSignal.abort(reason) }
      await expect(sink.write(0, Uint8Array.of(1), aborted)).rejects.toBe(reason)
      await expect(sink.writeZeroes(0, 1, aborted)).rejects.toBe(reason)
      await expect(sink.flush(aborted)).rejects.toBe(reason)
      await sink.write(0, Uint8Array.of(7), call())
      await sink.flush(call())
      expect((await opened.readBack())[0]).toBe(7)
    })
  })
}

async function apply(
  sink: BlockSink,
  model: Uint8Array,
  { kind, offsetBytes, lengthBytes, fill }: SinkStep,
  options: { signal: AbortSignal },
): Promise<void> {
  const value = kind === 'zero' ? 0 : fill
  model.fill(value, offsetBytes, offsetBytes + lengthBytes)
  if (kind === 'zero') await sink.writeZeroes(offsetBytes, lengthBytes, options)
  else await sink.write(offsetBytes, new Uint8Array(lengthBytes).fill(value), options)
}

function anySteps(sizeBytes: number): fc.Arbitrary<SinkStep[]> {
  const step = fc
    .record({
      kind: fc.constantFrom('write' as const, 'zero' as const),
      offsetBytes: fc.nat(sizeBytes - 1),
      lengthBytes: fc.integer({ min: 1, max: Math.min(sizeBytes, 200_000) }),
      fill: fc.integer({ min: 1, max: 255 }),
    })
    .map((any) => ({ ...any, lengthBytes: Math.min(any.lengthBytes, sizeBytes - any.offsetBytes) }))
  return fc.array(step, { minLength: 1, maxLength: 12 })
}

/** Offset of the first byte that is not the same, or -1. */
function firstDifference(left: Uint8Array, right: Uint8Array): number {
  if (left.length !== right.length) return Math.min(left.length, right.length)
  if (Buffer.compare(left, right) === 0) return -1
  return left.findIndex((byte, index) => byte !== right[index])
}

function call(): { readonly signal: AbortSignal } {
  return { signal: AbortSignal.timeout(DEADLINE_MS) }
}
