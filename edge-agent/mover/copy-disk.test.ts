import { describe, expect, test } from 'vitest'
import type { BlockSink } from '../block/block-sink.ts'
import { createMemoryDisk } from '../block/memory-disk.ts'
import { copyDisk } from './copy-disk.ts'
import type { CopyProgress } from './mover.ts'
import { recordingSink } from './testing/recording-sink.ts'

const KIB = 1024
const MIB = 1024 * KIB
const call = { signal: AbortSignal.timeout(60_000) }

/** 8 MiB: data, a hole of 2 MiB and 64 KiB, data with zeros in it, a hole up to the end. */
async function makeSource() {
  const disk = createMemoryDisk({ sizeBytes: 8 * MIB })
  await disk.write(0, new Uint8Array(MIB).fill(1), call)
  await disk.write(3 * MIB + 64 * KIB, new Uint8Array(MIB).fill(2), call)
  await disk.write(3 * MIB + 128 * KIB, new Uint8Array(64 * KIB), call)
  return disk
}

function dirtySink(): { disk: ReturnType<typeof createMemoryDisk>; sink: BlockSink; calls: string[] } {
  const disk = createMemoryDisk({ sizeBytes: 8 * MIB, content: new Uint8Array(8 * MIB).fill(9) })
  return { disk, ...recordingSink(disk) }
}

describe('a plain copy of a disk', () => {
  test('reads no holes, and writes them as zeros, together where they touch', async () => {
    const source = await makeSource()
    const { disk, sink, calls } = dirtySink()
    const progress = await copyDisk({ source, sink }, call)
    expect(Buffer.compare(disk.bytes, source.bytes)).toBe(0)
    expect(progress).toMatchObject({
      readBytes: 2 * MIB,
      plannedBytes: 2 * MIB,
      doneBytes: 2 * MIB,
      plannedExtents: 2,
      doneExtents: 2,
      isPlanComplete: true,
      writtenBytes: 2 * MIB,
      checkpoint: { offsetBytes: 8 * MIB, sizeBytes: 8 * MIB, doneBytes: 2 * MIB, doneExtents: 2 },
    })
    expect(calls.toSorted()).toEqual([
      'flush',
      'write 0+1024',
      'write 3136+960',
      'write 4096+64',
      'zero 1024+2048',
      'zero 3072+64',
      'zero 4160+960',
      'zero 5120+3072',
    ])
  })

  test('writes nothing where zeros go when the target is known to be zeros', async () => {
    const source = await makeSource()
    const disk = createMemoryDisk({ sizeBytes: 8 * MIB })
    const { sink, calls } = recordingSink(disk)
    await copyDisk({ source, sink, sinkIsZero: true, detectZeroes: true }, call)
    expect(Buffer.compare(disk.bytes, source.bytes)).toBe(0)
    expect(calls.toSorted()).toEqual(['flush', 'write 0+1024', 'write 3136+64', 'write 3264+832', 'write 4096+64'])
  })

  test('tells zeros in data apart when asked', async () => {
    const source = await makeSource()
    const { disk, sink, calls } = dirtySink()
    const progress = await copyDisk({ source, sink, detectZeroes: true }, call)
    expect(Buffer.compare(disk.bytes, source.bytes)).toBe(0)
    expect(calls).toContain('zero 3200+64')
    expect(progress).toMatchObject({ writtenBytes: 2 * MIB - 64 * KIB, zeroedBytes: 6 * MIB + 64 * KIB })
  })

  test('copies only what is dirty when asked, zeros too', async () => {
    const source = createMemoryDisk({ sizeBytes: 8 * MIB, content: new Uint8Array(8 * MIB).fill(5) })
    const before = Uint8Array.from(source.bytes)
    const tracker = source.addTracker()
    await source.write(2 * MIB, new Uint8Array(4 * KIB).fill(6), call)
    await source.writeZeroes(6 * MIB, MIB, call)
    const disk = createMemoryDisk({ sizeBytes: 8 * MIB, content: before })
    const { sink, calls } = recordingSink(disk)
    const progress = await copyDisk({ source: source.freeze(tracker), sink, dirtyOnly: true }, call)
    expect(Buffer.compare(disk.bytes, source.bytes)).toBe(0)
    expect(calls.toSorted()).toEqual(['flush', 'write 2048+4', 'zero 6144+1024'])
    expect(progress.readBytes).toBe(4 * KIB)
  })

  test('to nowhere only reads', async () => {
    const progress = await copyDisk({ source: await makeSource() }, call)
    expect(progress).toMatchObject({ readBytes: 2 * MIB, writtenBytes: 0, zeroedBytes: 0 })
  })

  test('to a larger disk leaves the rest alone, to a smaller one is refused', async () => {
    const source = await makeSource()
    const large = createMemoryDisk({ sizeBytes: 9 * MIB, content: new Uint8Array(9 * MIB).fill(9) })
    await copyDisk({ source, sink: large }, call)
    expect(Buffer.compare(large.bytes.subarray(0, 8 * MIB), source.bytes)).toBe(0)
    expect(large.bytes.subarray(8 * MIB).every((byte) => byte === 9)).toBe(true)
    const small = createMemoryDisk({ sizeBytes: 7 * MIB })
    await expect(copyDisk({ source, sink: small }, call)).rejects.toMatchObject({ code: 'target.disk_size_mismatch' })
  })

  test('of nothing is done at once', async () => {
    const empty = createMemoryDisk({ sizeBytes: 0 })
    await expect(copyDisk({ source: empty, sink: empty }, call)).resolves.toMatchObject({ isPlanComplete: true })
  })

  test('a disk that cannot flush gets no checkpoint, not even at its end', async () => {
    const source = createMemoryDisk({ sizeBytes: 8 * MIB, content: new Uint8Array(8 * MIB).fill(5) })
    const disk = createMemoryDisk({ sizeBytes: source.sizeBytes })
    const sink: BlockSink = {
      sizeBytes: disk.sizeBytes,
      cannotFlush: true,
      write: async (offsetBytes, bytes, options) => await disk.write(offsetBytes, bytes, options),
      writeZeroes: async (offsetBytes, lengthBytes, options) =>
        await disk.writeZeroes(offsetBytes, lengthBytes, options),
      flush: async () => undefined,
      [Symbol.asyncDispose]: async () => undefined,
    }
    const seen = new Set<number>()
    const onProgress = ({ checkpoint }: CopyProgress): void => void seen.add(checkpoint.offsetBytes)
    const end = await copyDisk({ source, sink, checkpointEveryBytes: 1 }, { ...call, onProgress })
    expect([...seen]).toEqual([0])
    expect(end.checkpoint.offsetBytes).toBe(0)
    expect(Buffer.compare(disk.bytes, source.bytes)).toBe(0)
  })
})
