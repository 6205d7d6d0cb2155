import { seededRandom } from '@sendense/shared/runtime/seeded-random.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BlockSink } from '../block/block-sink.ts'
import type { BlockSource } from '../block/block-source.ts'
import { createVolatileSink } from '../block/layers/volatile-sink.ts'
import { createMemoryDisk, type MemoryDisk } from '../block/memory-disk.ts'
import { ChunkHash } from './chunk-hash.ts'
import { ChunkIds } from './chunk-ids.ts'
import { copyBackup } from './copy-backup.ts'
import { copyDisk } from './copy-disk.ts'
import { type CopyEnvironment, createThreadEnvironment } from './copy-environment.ts'
import { copyRestore } from './copy-restore.ts'
import { createMover } from './create-mover.ts'
import { type CopyCheckpoint, type CopyOptions, type CopyProgress, noCheckpoint } from './mover.ts'
import { PauseSwitch } from './pause-switch.ts'
import { SLAB_BYTES } from './slabs/run-buffer.ts'
import { type RequestWatch, watchedDisks } from './testing/watched-disks.ts'

const KIB = 1024
const MIB = 1024 * KIB
const CHUNK_BYTES = 256 * KIB
const idKey = new Uint8Array(32).fill(0x42)
const call = { signal: AbortSignal.timeout(120_000) }
const copyKinds = ['backup', 'restore', 'disk'] as const
type CopyKind = (typeof copyKinds)[number]

interface DiskSpec {
  readonly sizeBytes: number
  readonly seed: number
  /** Of each 128 KiB, how likely something is written there. */
  readonly dataShare: number
}

const anyDisk: fc.Arbitrary<DiskSpec> = fc.record({
  sizeBytes: fc.integer({ min: 1, max: 9 * MIB }),
  seed: fc.nat(),
  dataShare: fc.constantFrom(0.2, 0.6, 1),
})

function makeDisk({ sizeBytes, seed, dataShare }: DiskSpec): { disk: MemoryDisk; random: () => number } {
  const random = seededRandom(seed)
  const disk = createMemoryDisk({ sizeBytes, granularityBytes: 64 * KIB })
  for (let at = 0; at < sizeBytes; at += 128 * KIB) {
    if (random() > dataShare) continue
    const lengthBytes = Math.min(Math.ceil(random() * 256 * KIB), sizeBytes - at)
    void disk.write(at, new Uint8Array(lengthBytes).fill(1 + Math.floor(random() * 255)), call)
  }
  return { disk, random }
}

interface Scene {
  readonly kind: CopyKind
  readonly disk: MemoryDisk
  readonly source: BlockSource
  readonly sink: BlockSink
}

async function copyOf(
  { kind, disk, source, sink }: Scene,
  options: CopyOptions,
  environment: CopyEnvironment,
  resumeFrom: CopyCheckpoint = noCheckpoint,
): Promise<CopyProgress> {
  const resumable = { resumeFrom, checkpointEveryBytes: MIB }
  if (kind === 'disk') return await copyDisk({ source, sink, sinkIsZero: true, ...resumable }, options, environment)
  if (kind === 'restore') {
    return await copyRestore({ source, sink, chunkIds: idsOf(disk), idKey, ...resumable }, options, environment)
  }
  const chunkIds = new ChunkIds(disk.sizeBytes, CHUNK_BYTES)
  const progress = await copyBackup({ mode: 'full', source, sink, chunkIds, idKey }, options, environment)
  expect(Buffer.compare(chunkIds.bytes, idsOf(disk).bytes)).toBe(0)
  return progress
}

function idsOf({ bytes, sizeBytes }: MemoryDisk): ChunkIds {
  const ids = new ChunkIds(sizeBytes, CHUNK_BYTES)
  const hash = new ChunkHash(idKey)
  for (let index = 0; index < ids.count; index += 1) {
    ids.set(index, hash.idOf(bytes.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES)))
  }
  return ids
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise(setImmediate)
}

describe('a copy held up or ended at any request', () => {
  test.each(copyKinds)(
    'a paused %s holds no memory and asks for nothing, and goes on to the same bytes',
    async (kind) => {
      await fc.assert(
        fc.asyncProperty(anyDisk, fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 4 }), async (spec, pauses) => {
          const { disk, random } = makeDisk(spec)
          const pause = new PauseSwitch()
          const watch: RequestWatch = { underWay: 0, count: 0, turns: () => Math.floor(random() * 3) }
          const pending = new Set(pauses)
          watch.onRequest = (count) => {
            if (pending.delete(count)) pause.pause()
          }
          const target = createMemoryDisk({ sizeBytes: disk.sizeBytes })
          const { source, sink } = watchedDisks(disk, target, watch)
          const environment = createThreadEnvironment(new SharedArrayBuffer(4 * SLAB_BYTES))
          const { slabs } = environment
          const checks: Promise<void>[] = []
          const check = async (): Promise<void> => {
            const countThen = watch.count
            expect(watch.underWay).toBe(0)
            await turns(10)
            expect(watch.underWay).toBe(0)
            expect(watch.count).toBe(countThen)
            expect(slabs.freeCount).toBe(slabs.capacity)
            pause.resume()
          }
          let before: string | undefined
          const onProgress = ({ state }: CopyProgress): void => {
            if (state === 'paused' && before !== 'paused') checks.push(check())
            before = state
          }
          using held = new DisposableStack()
          const progress = await copyOf(
            { kind, disk, source, sink },
            { ...call, pause, onProgress },
            { ...environment, held },
          )
          await Promise.all(checks)
          expect(progress.state).toBe('running')
          expect(progress.doneBytes).toBe(progress.plannedBytes)
          expect(Buffer.compare(target.bytes, disk.bytes)).toBe(0)
        }),
        { numRuns: 25 },
      )
    },
  )

  test.each(copyKinds)(
    'a cancelled %s rejects with the reason, and nothing of it is under way or held',
    async (kind) => {
      await fc.assert(
        fc.asyncProperty(anyDisk, fc.integer({ min: 1, max: 60 }), fc.boolean(), async (spec, at, paused) => {
          const { disk, random } = makeDisk(spec)
          const control = new AbortController()
          const pause = new PauseSwitch()
          const watch: RequestWatch = { underWay: 0, count: 0, turns: () => Math.floor(random() * 3) }
          watch.onRequest = (count) => {
            if (count !== at) return
            if (paused) pause.pause()
            setImmediate(() => control.abort(new Error('enough')))
          }
          const target = createMemoryDisk({ sizeBytes: disk.sizeBytes })
          const { source, sink } = watchedDisks(disk, target, watch)
          const environment = createThreadEnvironment(new SharedArrayBuffer(4 * SLAB_BYTES))
          const { slabs } = environment
          const held = new DisposableStack()
          const options = { signal: control.signal, pause }
          const [end] = await Promise.allSettled([
            copyOf({ kind, disk, source, sink }, options, { ...environment, held }),
          ])
          const underWayThen = watch.underWay
          held.dispose()
          // One that was over before it was cancelled has done all it had to.
          expect(end.status === 'rejected' ? end.reason.message : 'enough').toBe('enough')
          expect(underWayThen).toBe(0)
          expect(slabs.freeCount).toBe(slabs.capacity)
          const countThen = watch.count
          await turns(10)
          expect(watch.count).toBe(countThen)
        }),
        { numRuns: 25 },
      )
    },
  )
})

test('a pause is noticed while a throttle holds the copy up, and both may end in any order', async () => {
  const disk = createMemoryDisk({ sizeBytes: 2 * MIB, content: new Uint8Array(2 * MIB).fill(1) })
  for (const order of ['goes on first', 'may pass first'] as const) {
    const passing = Promise.withResolvers<void>()
    const asked = Promise.withResolvers<void>()
    const take = async (): Promise<void> => {
      asked.resolve()
      await passing.promise
    }
    const pause = new PauseSwitch()
    const states: string[] = []
    const paused = Promise.withResolvers<void>()
    const onProgress = ({ state }: CopyProgress): void => {
      states.push(state)
      if (state === 'paused') paused.resolve()
    }
    const target = createMemoryDisk({ sizeBytes: 2 * MIB })
    const task = { source: disk, sink: target, throttles: [{ bytesPerSecond: 1, take }] }
    const copying = copyDisk(task, { ...call, pause, onProgress })
    await asked.promise
    pause.pause()
    await paused.promise
    const [first, second] = [() => pause.resume(), () => passing.resolve()]
    for (const step of order === 'goes on first' ? [first, second] : [second, first]) {
      step()
      await turns(5)
      expect(states.at(-1)).toBe(step === first || order === 'goes on first' ? 'running' : 'paused')
    }
    await copying
    expect(Buffer.compare(target.bytes, disk.bytes)).toBe(0)
  }
})

describe('a copy to a disk that loses what was not flushed', () => {
  test.each(['restore', 'disk'] as const)(
    'a %s goes back to its last checkpoint and comes to the same bytes',
    async (kind) => {
      await using mover = createMover({ threadsMax: 1 })
      let rewindsSeen = 0
      await fc.assert(
        fc.asyncProperty(anyDisk, fc.array(fc.integer({ min: 1, max: 80 }), { maxLength: 5 }), async (spec, losses) => {
          const { disk, random } = makeDisk(spec)
          const target = createVolatileSink(disk.sizeBytes, random)
          const watch: RequestWatch = { underWay: 0, count: 0, turns: () => Math.floor(random() * 3) }
          watch.onRequest = (count) => {
            if (losses.includes(count)) setImmediate(() => target.lose())
          }
          const { source, sink } = watchedDisks(disk, target, watch)
          const task = { source, sink, checkpointEveryBytes: MIB }
          const progress = await (kind === 'disk'
            ? mover.copyDisk({ ...task, sinkIsZero: true }, call)
            : mover.copyRestore({ ...task, chunkIds: idsOf(disk), idKey }, call))
          target.lose()
          expect(Buffer.compare(target.bytes, disk.bytes)).toBe(0)
          expect(progress.doneBytes).toBe(progress.plannedBytes)
          expect(progress.rewinds).toBeLessThanOrEqual(losses.length)
          rewindsSeen += progress.rewinds
        }),
        { numRuns: 40 },
      )
      expect(rewindsSeen).toBeGreaterThan(0)
    },
  )

  test.each(['restore', 'disk'] as const)(
    'a %s killed at any request is gone on with by another one from its last checkpoint',
    async (kind) => {
      let savedBytes = 0
      await fc.assert(
        fc.asyncProperty(anyDisk, fc.array(fc.integer({ min: 1, max: 80 }), { maxLength: 4 }), async (spec, kills) => {
          const { disk, random } = makeDisk(spec)
          const target = createVolatileSink(disk.sizeBytes, random)
          const environment = createThreadEnvironment(new SharedArrayBuffer(8 * SLAB_BYTES))
          let checkpoint = noCheckpoint
          for (const at of [...kills, Infinity]) {
            const control = new AbortController()
            const watch: RequestWatch = { underWay: 0, count: 0, turns: () => Math.floor(random() * 3) }
            watch.onRequest = (count) => {
              if (count === at) control.abort(new Error('killed'))
            }
            const { source, sink } = watchedDisks(disk, target, watch)
            const options = {
              signal: control.signal,
              onProgress: (progress: CopyProgress) => {
                if (!control.signal.aborted) ({ checkpoint } = progress)
              },
            }
            using held = new DisposableStack()
            const copying = copyOf({ kind, disk, source, sink }, options, { ...environment, held }, checkpoint)
            const [end] = await Promise.allSettled([copying])
            target.lose('stranger')
            expect(end.status === 'rejected' ? end.reason.message : 'killed').toBe('killed')
            if (end.status === 'rejected') savedBytes += checkpoint.offsetBytes
          }
          expect(Buffer.compare(target.bytes, disk.bytes)).toBe(0)
          expect(checkpoint.offsetBytes).toBe(disk.sizeBytes)
        }),
        { numRuns: 40 },
      )
      expect(savedBytes).toBeGreaterThan(0)
    },
  )

  test('goes back no further than to its last checkpoint', async () => {
    await using mover = createMover({ threadsMax: 1 })
    const disk = createMemoryDisk({ sizeBytes: 8 * MIB, content: new Uint8Array(8 * MIB).fill(3) })
    const target = createVolatileSink(8 * MIB, () => 0.9)
    let isLost = false
    const readAfter: number[] = []
    const source: BlockSource = {
      sizeBytes: disk.sizeBytes,
      extents: (range, options) => disk.extents(range, options),
      read: async (offsetBytes, into, options) => {
        if (isLost) readAfter.push(offsetBytes)
        await new Promise(setImmediate)
        await disk.read(offsetBytes, into, options)
      },
      [Symbol.asyncDispose]: async () => undefined,
    }
    let kept = noCheckpoint
    const onProgress = ({ checkpoint }: CopyProgress): void => {
      if (isLost || checkpoint.offsetBytes < 3 * MIB) return
      isLost = true
      kept = checkpoint
      target.lose()
    }
    const task = { source, sink: target, checkpointEveryBytes: MIB, bufferBytesMax: MIB }
    await expect(mover.copyDisk(task, { ...call, onProgress })).resolves.toMatchObject({ rewinds: 1 })
    expect(kept.offsetBytes).toBeGreaterThanOrEqual(3 * MIB)
    expect(Math.min(...readAfter)).toBeGreaterThanOrEqual(kept.offsetBytes)
    expect(Buffer.compare(target.bytes, disk.bytes)).toBe(0)
  })

  test('one that is lost again and again at the same place is given up', async () => {
    await using mover = createMover({ threadsMax: 1 })
    const disk = createMemoryDisk({ sizeBytes: MIB, content: new Uint8Array(MIB).fill(3) })
    const target = createVolatileSink(MIB, () => 1)
    const watch: RequestWatch = {
      underWay: 0,
      count: 0,
      turns: () => 0,
      onRequest: () => setImmediate(() => target.lose()),
    }
    const { source, sink } = watchedDisks(disk, target, watch)
    const seen: number[] = []
    const onProgress = ({ rewinds }: CopyProgress): void => void seen.push(rewinds)
    const copying = mover.copyDisk({ source, sink }, { ...call, onProgress })
    await expect(copying).rejects.toMatchObject({ code: 'nbd.writes_uncertain' })
    expect(Math.max(...seen)).toBe(5)
  })
})
