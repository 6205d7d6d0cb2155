import { describe, expect, test } from 'vitest'
import { describeBlockSink } from './block-sink.conformance.ts'
import { describeBlockSource } from './block-source.conformance.ts'
import { createMemoryDisk, type MemoryDisk } from './memory-disk.ts'

const SIZE_BYTES = 300_001
const signal = AbortSignal.timeout(60_000)

async function makeWritten(): Promise<MemoryDisk> {
  const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES })
  await disk.write(5000, new Uint8Array(9000).fill(3), { signal })
  await disk.write(200_000, new Uint8Array(100_001).fill(9), { signal })
  await disk.writeZeroes(210_000, 50_000, { signal })
  return disk
}

describeBlockSource('memory', async () => {
  const disk = await makeWritten()
  return { source: disk, content: disk.bytes }
})

describeBlockSource('memory, frozen with a tracker', async () => {
  const disk = await makeWritten()
  const tracker = disk.addTracker()
  await disk.write(70_000, new Uint8Array(10).fill(1), { signal })
  await disk.writeZeroes(202_000, 20_000, { signal })
  const source = disk.freeze(tracker)
  await disk.write(0, new Uint8Array(SIZE_BYTES).fill(0xee), { signal })
  const dirty = [
    { offsetBytes: 70_000, lengthBytes: 10 },
    { offsetBytes: 202_000, lengthBytes: 20_000 },
  ]
  return { source, content: source.bytes, dirty }
})

describeBlockSink('memory', async () => {
  const sink = createMemoryDisk({ sizeBytes: SIZE_BYTES })
  return { sink, readBack: async () => sink.bytes.slice() }
})

describe('memory disk', () => {
  test('a frozen copy keeps its content, its zeros and its dirty extents while the disk goes on', async () => {
    const disk = await makeWritten()
    const tracker = disk.addTracker()
    await disk.write(8192, Uint8Array.of(1), { signal })
    const frozen = disk.freeze(tracker)
    await disk.write(0, new Uint8Array(SIZE_BYTES).fill(7), { signal })
    expect(frozen.bytes[8192]).toBe(1)
    expect(frozen.bytes[0]).toBe(0)
    const extents = await Array.fromAsync(frozen.extents({ offsetBytes: 0, lengthBytes: SIZE_BYTES }, { signal }))
    expect(extents.filter(({ dirty }) => dirty)).toEqual([
      { offsetBytes: 8192, lengthBytes: 4096, zero: false, dirty: true },
    ])
    expect(extents[0]).toEqual({ offsetBytes: 0, lengthBytes: 4096, zero: true, dirty: false })
  })

  test('a removed tracker records no more', async () => {
    const disk = createMemoryDisk({ sizeBytes: 8192 })
    const tracker = disk.addTracker()
    disk.removeTracker(tracker)
    await disk.write(0, Uint8Array.of(1), { signal })
    expect(tracker.isDirty(0)).toBe(false)
  })
})
