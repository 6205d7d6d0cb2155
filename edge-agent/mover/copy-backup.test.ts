import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BlockSink } from '../block/block-sink.ts'
import type { BlockSource } from '../block/block-source.ts'
import { faultySink, faultySource } from '../block/layers/faulty-disk.ts'
import { createMemoryDisk, type MemoryDisk } from '../block/memory-disk.ts'
import { ChunkIds } from './chunk-ids.ts'
import { copyBackup } from './copy-backup.ts'
import { loneCopyEnvironment } from './copy-environment.ts'
import { createMover } from './create-mover.ts'
import type { BackupCopyTask } from './mover.ts'
import { SharedThrottle, type Throttle } from './rate/shared-throttle.ts'
import { recordingSink } from './testing/recording-sink.ts'

const KIB = 1024
const CHUNK_BYTES = 256 * KIB
const SIZE_BYTES = 8 * CHUNK_BYTES
const idKey = new Uint8Array(32).fill(0x21)
const call = { signal: AbortSignal.timeout(60_000) }

interface Point {
  readonly source: MemoryDisk
  readonly parent: MemoryDisk
  readonly chunkIds: ChunkIds
}

/** A source full of data with a full backup of it. */
async function makeFull(): Promise<Point> {
  const source = createMemoryDisk({ sizeBytes: SIZE_BYTES })
  await source.write(0, new Uint8Array(SIZE_BYTES).fill(7), call)
  const parent = createMemoryDisk({ sizeBytes: SIZE_BYTES })
  const chunkIds = new ChunkIds(SIZE_BYTES, CHUNK_BYTES)
  await copyBackup({ mode: 'full', source, sink: parent, chunkIds, idKey }, call)
  return { source, parent, chunkIds }
}

/** Changes the source, and copies what changed onto the parent's content. */
async function copyChanges(
  { source, parent, chunkIds }: Point,
  mode: 'incremental' | 'compare',
  change: (disk: MemoryDisk) => Promise<void>,
) {
  const tracker = source.addTracker()
  await change(source)
  const disk = parent.freeze()
  const { sink, calls } = recordingSink(disk)
  const frozen = source.freeze(mode === 'incremental' ? tracker : undefined)
  const progress = await copyBackup({ mode, source: frozen, sink, base: parent, chunkIds, idKey }, call)
  expect(Buffer.compare(disk.bytes, source.bytes)).toBe(0)
  return { calls, progress }
}

describe('a full backup', () => {
  test('neither reads what is known to be zero nor writes what reads as zeros', async () => {
    const source = createMemoryDisk({ sizeBytes: SIZE_BYTES })
    await source.write(CHUNK_BYTES, new Uint8Array(CHUNK_BYTES).fill(1), call)
    await source.write(4 * CHUNK_BYTES, new Uint8Array(CHUNK_BYTES), call)
    const { sink, calls } = recordingSink(createMemoryDisk({ sizeBytes: SIZE_BYTES }))
    const chunkIds = new ChunkIds(SIZE_BYTES, CHUNK_BYTES)
    const progress = await copyBackup({ mode: 'full', source, sink, chunkIds, idKey }, call)
    expect(calls).toEqual(['write 256+256', 'flush'])
    expect(progress).toMatchObject({ readBytes: 2 * CHUNK_BYTES, writtenBytes: CHUNK_BYTES, zeroedBytes: 0 })
    expect([...Array(8).keys()].filter((index) => !chunkIds.isZero(index))).toEqual([1])
  })
})

describe('an incremental', () => {
  test('reads and writes only what is dirty, and completes the chunk from its base', async () => {
    const point = await makeFull()
    const { calls, progress } = await copyChanges(point, 'incremental', async (disk) => {
      await disk.write(CHUNK_BYTES + 64 * KIB, new Uint8Array(64 * KIB).fill(9), call)
    })
    expect(calls).toEqual(['write 320+64', 'flush'])
    expect(progress).toMatchObject({ readBytes: 64 * KIB, baseReadBytes: CHUNK_BYTES, writtenBytes: 64 * KIB })
  })

  test('writes zeros where data was zeroed, trimmed or overwritten with zeros, without reading known ones', async () => {
    const point = await makeFull()
    const { calls, progress } = await copyChanges(point, 'incremental', async (disk) => {
      await disk.writeZeroes(0, CHUNK_BYTES, call)
      await disk.writeZeroes(2 * CHUNK_BYTES, 64 * KIB, call)
      await disk.write(4 * CHUNK_BYTES, new Uint8Array(128 * KIB), call)
    })
    expect(calls).toEqual(['zero 0+256', 'zero 512+64', 'zero 1024+128', 'flush'])
    expect(progress).toMatchObject({ readBytes: 128 * KIB, writtenBytes: 0, zeroedBytes: 448 * KIB })
    expect(point.chunkIds.isZero(0)).toBe(true)
  })

  test('writes nothing where what was written is what was there', async () => {
    const point = await makeFull()
    const { calls } = await copyChanges(point, 'incremental', async (disk) => {
      await disk.write(0, new Uint8Array(100 * KIB).fill(7), call)
    })
    expect(calls).toEqual(['flush'])
  })

  test('does not build on a damaged base', async () => {
    const point = await makeFull()
    point.parent.bytes[CHUNK_BYTES + 200 * KIB] = 8
    const copying = copyChanges(point, 'incremental', async (disk) => {
      await disk.write(CHUNK_BYTES, new Uint8Array(64 * KIB).fill(9), call)
    })
    const details = { offsetBytes: CHUNK_BYTES }
    await expect(copying).rejects.toMatchObject({ code: 'repository.chunk_corrupt', details })
  })
})

describe('a compare run', () => {
  test('reads everything that is not known to be zero and writes only chunks that differ', async () => {
    const point = await makeFull()
    const { calls, progress } = await copyChanges(point, 'compare', async (disk) => {
      await disk.write(3 * CHUNK_BYTES + 10, Uint8Array.of(1), call)
      await disk.writeZeroes(5 * CHUNK_BYTES, 2 * CHUNK_BYTES, call)
    })
    expect(calls.toSorted()).toEqual(['flush', 'write 768+256', 'zero 1280+512'])
    expect(progress).toMatchObject({ readBytes: 6 * CHUNK_BYTES, baseReadBytes: 0 })
  })
})

/** A full backup of a disk full of data, with other disks where asked. */
function makeTask(parts: Partial<Pick<BackupCopyTask, 'source' | 'sink'>>): BackupCopyTask {
  const content = new Uint8Array(SIZE_BYTES).fill(5)
  const source = createMemoryDisk({ sizeBytes: SIZE_BYTES, content })
  const sink = createMemoryDisk({ sizeBytes: SIZE_BYTES })
  const chunkIds = new ChunkIds(SIZE_BYTES, CHUNK_BYTES)
  return { mode: 'full', source, sink, chunkIds, idKey, ...parts }
}

describe('a copy in trouble', () => {
  test('rejects with what source or sink reject with', async () => {
    const faults = { seed: 3, errorRate: 1 }
    const source = faultySource(makeTask({}).source, faults)
    const environment = { ...loneCopyEnvironment(), random: () => 0 }
    const copying = copyBackup(makeTask({ source }), call, environment)
    await expect(copying).rejects.toMatchObject({ code: 'source.read_failed' })
    const sink = faultySink(createMemoryDisk({ sizeBytes: SIZE_BYTES }), faults)
    await expect(copyBackup(makeTask({ sink }), call)).rejects.toMatchObject({ code: 'target.write_failed' })
  })

  test('extents and the base are asked again too, which is counted, and named when it was of no use', async () => {
    const point = await makeFull()
    const tracker = point.source.addTracker()
    await point.source.write(64 * KIB, new Uint8Array(64 * KIB).fill(9), call)
    const frozen = point.source.freeze(tracker)
    const backUp = async (source: BlockSource, base: BlockSource) => {
      const chunkIds = new ChunkIds(SIZE_BYTES, CHUNK_BYTES)
      chunkIds.bytes.set(point.chunkIds.bytes)
      const task = { mode: 'incremental', source, sink: point.parent.freeze(), base, chunkIds, idKey } as const
      return await copyBackup({ ...task, diskId: 'vda' }, call, { ...loneCopyEnvironment(), random: () => 0 })
    }
    const sometimes = { errorRate: 0.5 }
    const faulty = await backUp(
      faultySource(frozen, { seed: 2, ...sometimes }),
      faultySource(point.parent, { seed: 7, ...sometimes }),
    )
    expect(faulty.retriedReads).toBeGreaterThan(0)
    const always = { seed: 3, errorRate: 1 }
    await expect(backUp(faultySource(frozen, always), point.parent)).rejects.toMatchObject({
      message: expect.stringMatching(/^disk vda: .* from byte 0 .* could not be asked for its extents in 5 attempts/),
    })
    await expect(backUp(frozen, faultySource(point.parent, always))).rejects.toMatchObject({
      code: 'source.read_failed',
      message: expect.stringMatching(/^the base of disk vda: 256 KiB from byte 0 .* could not be read in 5 attempts/),
      details: { offsetBytes: 0 },
    })
  })

  test('rejects with the signal’s reason when cancelled in the middle, and nothing goes on after', async () => {
    const control = new AbortController()
    const { source } = makeTask({})
    let reads = 0
    const cancelling: BlockSource = {
      sizeBytes: source.sizeBytes,
      extents: (range, options) => source.extents(range, options),
      read: async (offsetBytes, into, options) => {
        reads += 1
        control.abort(new PlatformError('internal.cancelled', 'enough'))
        await source.read(offsetBytes, into, options)
      },
      [Symbol.asyncDispose]: async () => await source[Symbol.asyncDispose](),
    }
    const { sink, calls } = recordingSink(createMemoryDisk({ sizeBytes: SIZE_BYTES }))
    const copying = copyBackup(makeTask({ source: cancelling, sink }), { signal: control.signal })
    await expect(copying).rejects.toMatchObject({ code: 'internal.cancelled' })
    const readsThen = reads
    await new Promise(setImmediate)
    expect(reads).toBe(readsThen)
    expect(calls).toEqual([])
  })

  test('disks of other sizes are refused before anything is read', async () => {
    const other = createMemoryDisk({ sizeBytes: SIZE_BYTES + 512 })
    const wrongSource = copyBackup(makeTask({ source: other }), call)
    await expect(wrongSource).rejects.toMatchObject({ code: 'source.disk_size_changed' })
    await expect(copyBackup(makeTask({ sink: other }), call)).rejects.toMatchObject({
      code: 'target.disk_size_mismatch',
    })
  })

  test('a disk of no bytes is copied', async () => {
    const empty = createMemoryDisk({ sizeBytes: 0 })
    const chunkIds = new ChunkIds(0, CHUNK_BYTES)
    const copying = copyBackup({ mode: 'full', source: empty, sink: empty, chunkIds, idKey }, call)
    await expect(copying).resolves.toMatchObject({ plannedBytes: 0 })
  })

  test('a rate slows reads down to it', async () => {
    let nowNs = 0n
    const sleep = async (milliseconds: number): Promise<void> => {
      nowNs += BigInt(Math.round(milliseconds * 1e6))
    }
    const throttle = new SharedThrottle(undefined, { nowNs: () => nowNs, sleep })
    throttle.setRate(1024 * KIB)
    await copyBackup({ ...makeTask({}), throttles: [throttle] }, call)
    expect(nowNs).toBeGreaterThanOrEqual(1_000_000_000n)
  })
})

test('a mover copies disks without an address on this thread', async () => {
  await using mover = createMover({ threadsMax: 1 })
  const content = new Uint8Array(SIZE_BYTES).fill(4)
  const source = createMemoryDisk({ sizeBytes: SIZE_BYTES, content })
  const sink = createMemoryDisk({ sizeBytes: SIZE_BYTES })
  const chunkIds = new ChunkIds(SIZE_BYTES, CHUNK_BYTES)
  const seen: number[] = []
  const onProgress = ({ doneBytes }: { readonly doneBytes: number }): void => void seen.push(doneBytes)
  await mover.copyBackup({ mode: 'full', source, sink, chunkIds, idKey }, { ...call, onProgress })
  expect(Buffer.compare(sink.bytes, content)).toBe(0)
  expect(seen.at(-1)).toBe(SIZE_BYTES)
  await mover.copyRestore({ source: sink, chunkIds, idKey }, call)
})

/** A sink of chunks in memory over the parent's content, and the offsets that were put, in KiB. */
function chunkSink({ parent, chunkIds }: Pick<Point, 'parent' | 'chunkIds'>) {
  const puts: number[] = []
  const content = parent.bytes.slice()
  const sink: BlockSink = {
    sizeBytes: SIZE_BYTES,
    chunks: {
      put: (chunk, parts) => {
        puts.push(chunk.offsetBytes / KIB)
        expect(Buffer.from(chunk.id)).toEqual(Buffer.from(chunkIds.at(chunk.index)))
        expect(parts.reduce((sum, part) => sum + part.length, 0)).toBe(chunk.lengthBytes)
        let at = chunk.offsetBytes
        for (const part of parts) {
          content.set(part, at)
          at += part.length
        }
        return chunk.index % 2 === 0 ? undefined : Promise.resolve()
      },
    },
    write: async () => await Promise.reject(new Error('a piece')),
    writeZeroes: async () => await Promise.reject(new Error('zeros')),
    flush: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  }
  return { sink, puts, content }
}

describe('a disk that takes whole chunks', () => {
  test('gets them completed from the source, also those whose id is known, and no zeros', async () => {
    const point = await makeFull()
    const { source, chunkIds } = point
    const tracker = source.addTracker()
    await source.write(CHUNK_BYTES + 64 * KIB, new Uint8Array(64 * KIB).fill(9), call)
    await source.write(3 * CHUNK_BYTES, new Uint8Array(64 * KIB).fill(7), call)
    await source.writeZeroes(5 * CHUNK_BYTES, CHUNK_BYTES, call)
    await source.write(6 * CHUNK_BYTES, new Uint8Array(CHUNK_BYTES), call)
    const { sink, puts, content } = chunkSink(point)
    const frozen = source.freeze(tracker)
    const task = { mode: 'incremental', source: frozen, sink, chunkIds, idKey } as const
    const progress = await copyBackup(task, call)
    expect(puts).toEqual([256, 768])
    expect(progress).toMatchObject({
      readBytes: 3 * CHUNK_BYTES,
      writtenBytes: CHUNK_BYTES,
      zeroedBytes: 2 * CHUNK_BYTES,
    })
    expect(progress.doneBytes).toBe(progress.plannedBytes)
    expect([...Array(8).keys()].filter((index) => chunkIds.isZero(index))).toEqual([5, 6])
    expect(Buffer.compare(content.subarray(0, 5 * CHUNK_BYTES), source.bytes.subarray(0, 5 * CHUNK_BYTES))).toBe(0)
  })

  test('has the content of the source after any writes', async () => {
    const write = fc.record({
      at: fc.integer({ min: 0, max: SIZE_BYTES / (64 * KIB) - 1 }),
      length: fc.integer({ min: 1, max: 5 }),
      byte: fc.integer({ min: 0, max: 3 }),
      discards: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(write, { maxLength: 8 }), async (writes) => {
        const point = await makeFull()
        const { source, chunkIds } = point
        const tracker = source.addTracker()
        for (const { at, length, byte, discards } of writes) {
          const offset = at * 64 * KIB
          const lengthBytes = Math.min(length * 64 * KIB, SIZE_BYTES - offset)
          if (discards) await source.writeZeroes(offset, lengthBytes, call)
          else await source.write(offset, new Uint8Array(lengthBytes).fill(byte), call)
        }
        const { sink, content } = chunkSink(point)
        await copyBackup({ mode: 'incremental', source: source.freeze(tracker), sink, chunkIds, idKey }, call)
        for (let index = 0; index < chunkIds.count; index += 1) {
          const range = [index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES] as const
          if (chunkIds.isZero(index)) content.fill(0, ...range)
        }
        expect(Buffer.compare(content, source.bytes)).toBe(0)
      }),
      { numRuns: 30 },
    )
  })

  test('a rate is kept to by what completes chunks too', async () => {
    const point = await makeFull()
    const { source, chunkIds } = point
    const tracker = source.addTracker()
    for (let index = 0; index < chunkIds.count; index += 1) {
      await source.write(index * CHUNK_BYTES, new Uint8Array(64 * KIB).fill(9), call)
    }
    const asked: number[] = []
    const throttle: Throttle = { bytesPerSecond: 1, take: async (bytes) => void asked.push(bytes) }
    const { sink } = chunkSink(point)
    const task = { mode: 'incremental', source: source.freeze(tracker), sink, chunkIds, idKey } as const
    const { readBytes } = await copyBackup({ ...task, throttles: [throttle] }, call)
    expect(asked.reduce((sum, bytes) => sum + bytes, 0)).toBe(readBytes)
  })

  test('a chunk that cannot be kept fails the copy', async () => {
    const point = await makeFull()
    await point.source.write(0, new Uint8Array(CHUNK_BYTES).fill(9), call)
    const { sink } = chunkSink(point)
    const full = new PlatformError('repository.no_space', 'full')
    const refusing = { ...sink, chunks: { put: async () => await Promise.reject(full) } }
    const task = { ...point, mode: 'compare', sink: refusing, base: point.parent, idKey } as const
    await expect(copyBackup(task, call)).rejects.toBe(full)
  })
})
