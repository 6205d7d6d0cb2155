import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { describe, expect, test } from 'vitest'
import { describeBlockSink } from '../block/block-sink.conformance.ts'
import type { BlockSink } from '../block/block-sink.ts'
import { createMemoryDisk } from '../block/memory-disk.ts'
import { Checkpoints } from './checkpoints.ts'
import type { DataRun } from './copy-plan.ts'
import { type CopyCheckpoint, noCheckpoint } from './mover.ts'

const MIB = 1024 * 1024
const SIZE_BYTES = 8 * MIB
const call = { signal: AbortSignal.timeout(60_000) }

function runAt(mib: number): DataRun {
  const range = { offsetBytes: mib * MIB, lengthBytes: MIB }
  return { kind: 'data', ...range, ranges: [{ ...range, zero: false }], extentsBegun: 1 }
}

function openCheckpoints(sink: BlockSink = createMemoryDisk({ sizeBytes: SIZE_BYTES })) {
  const told: CopyCheckpoint[] = []
  const checkpoints = new Checkpoints({
    from: noCheckpoint,
    sizeBytes: SIZE_BYTES,
    everyBytes: 2 * MIB,
    sink,
    onCheckpoint: (checkpoint) => void told.push(checkpoint),
  })
  return { checkpoints, told }
}

describeBlockSink('as a copy with checkpoints writes to it', async () => {
  const disk = createMemoryDisk({ sizeBytes: 100_000 })
  return { sink: openCheckpoints(disk).checkpoints.guard(disk), readBack: async () => disk.bytes.slice() }
})

describe('checkpoints', () => {
  test('lie where everything before is settled, whatever is settled behind', async () => {
    const { checkpoints, told } = openCheckpoints()
    const runs = [runAt(0), runAt(1), runAt(4), runAt(6)]
    for (const run of runs) checkpoints.begin(run)
    const [first, second, third] = runs
    if (first === undefined || second === undefined || third === undefined) throw new Error('no runs')
    checkpoints.settle(third)
    checkpoints.settle(second)
    expect(checkpoints.isDue).toBe(false)
    checkpoints.settle(first)
    expect(checkpoints.isDue).toBe(true)
    await checkpoints.take(call)
    expect(told).toEqual([{ offsetBytes: 5 * MIB, sizeBytes: SIZE_BYTES, doneBytes: 3 * MIB, doneExtents: 3 }])
    expect(checkpoints.isDue).toBe(false)
  })

  test('take no account of runs that come out of order, before the last one', async () => {
    const { checkpoints, told } = openCheckpoints()
    const runs = [runAt(0), runAt(6), runAt(5), runAt(4)]
    for (const run of runs) checkpoints.begin(run)
    for (const run of runs.slice(1)) checkpoints.settle(run)
    expect(checkpoints.isDue).toBe(false)
    if (runs[0] !== undefined) checkpoints.settle(runs[0])
    await checkpoints.take(call)
    checkpoints.end()
    expect(told.map(({ offsetBytes, doneBytes }) => [offsetBytes / MIB, doneBytes / MIB])).toEqual([
      [7, 2],
      [8, 4],
    ])
  })

  test('hold for what was settled when the flush was asked for, not for what came while it went on', async () => {
    const flushed = Promise.withResolvers<void>()
    const disk = createMemoryDisk({ sizeBytes: SIZE_BYTES })
    const slow: BlockSink = {
      sizeBytes: SIZE_BYTES,
      write: async (...args) => await disk.write(...args),
      writeZeroes: async (...args) => await disk.writeZeroes(...args),
      flush: async () => await flushed.promise,
      [Symbol.asyncDispose]: async () => undefined,
    }
    const { checkpoints, told } = openCheckpoints(slow)
    const [early, late] = [runAt(0), runAt(1)]
    checkpoints.begin(early)
    checkpoints.begin(late)
    checkpoints.settle(early)
    const taking = checkpoints.take(call)
    checkpoints.settle(late)
    await checkpoints.take(call)
    flushed.resolve()
    await taking
    expect(told.map(({ offsetBytes }) => offsetBytes)).toEqual([MIB])
  })

  test('are none any more once a write has failed: what was lost with it may be in no flush', async () => {
    const flushed = Promise.withResolvers<void>()
    const sink: BlockSink = {
      sizeBytes: SIZE_BYTES,
      write: async () => await Promise.reject(new PlatformError('nbd.writes_uncertain', 'lost')),
      writeZeroes: async () => undefined,
      flush: async () => await flushed.promise,
      [Symbol.asyncDispose]: async () => undefined,
    }
    const { checkpoints, told } = openCheckpoints(sink)
    const guarded = checkpoints.guard(sink)
    const run = runAt(0)
    checkpoints.begin(run)
    checkpoints.settle(run)
    const taking = checkpoints.take(call)
    await expect(guarded.write(0, Uint8Array.of(1), call)).rejects.toMatchObject({ code: 'nbd.writes_uncertain' })
    flushed.resolve()
    await taking
    expect(told).toEqual([])
  })
})
