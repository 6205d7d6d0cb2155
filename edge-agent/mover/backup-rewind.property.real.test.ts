import { type BackupMode, backupModes } from '@sendense/shared/domain/backup-reason.ts'
import { seededRandom } from '@sendense/shared/runtime/seeded-random.ts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BlockSink } from '../block/block-sink.ts'
import type { BlockSource } from '../block/block-source.ts'
import { createVolatileSink, type VolatileSink } from '../block/layers/volatile-sink.ts'
import { createMemoryDisk, type MemoryDisk } from '../block/memory-disk.ts'
import { BackupJournal } from './backup-journal.ts'
import { ChunkIds } from './chunk-ids.ts'
import { copyBackup } from './copy-backup.ts'
import { createThreadEnvironment } from './copy-environment.ts'
import { createMover } from './create-mover.ts'
import { type CopyProgress, noCheckpoint } from './mover.ts'
import { SLAB_BYTES } from './slabs/run-buffer.ts'
import { chunkIdsOf } from './testing/chunk-ids-of.ts'
import { type RequestWatch, watchedDisks } from './testing/watched-disks.ts'

const KIB = 1024
const MIB = 1024 * KIB
const CHUNK_BYTES = 256 * KIB
const idKey = new Uint8Array(32).fill(0x42)
const call = { signal: AbortSignal.timeout(120_000) }

interface Scenario {
  readonly mode: BackupMode
  readonly sizeBytes: number
  readonly seed: number
  /** Requests at which something is lost. */
  readonly losses: readonly number[]
}

const anyScenario: fc.Arbitrary<Scenario> = fc.record({
  mode: fc.constantFrom(...backupModes),
  sizeBytes: fc.integer({ min: 1, max: 9 * MIB }),
  seed: fc.nat(),
  losses: fc.array(fc.integer({ min: 1, max: 90 }), { maxLength: 5 }),
})

/** A parent restore point with its ids, and the frozen source of the next one. */
interface Scene {
  readonly parent: MemoryDisk
  readonly parentIds: ChunkIds
  readonly source: MemoryDisk
  readonly random: () => number
}

/** Data, zeros and untouched places in pieces that fit no chunk, before and after the parent was made. */
async function makeScene({ mode, sizeBytes, seed }: Scenario): Promise<Scene> {
  const random = seededRandom(seed)
  const disk = createMemoryDisk({ sizeBytes, granularityBytes: 64 * KIB })
  const change = async (share: number): Promise<void> => {
    for (let at = 0; at < sizeBytes; at += 128 * KIB) {
      if (random() > share) continue
      const lengthBytes = Math.min(Math.ceil(random() * 256 * KIB), sizeBytes - at)
      if (random() < 0.3) await disk.writeZeroes(at, lengthBytes, call)
      else await disk.write(at, new Uint8Array(lengthBytes).fill(1 + Math.floor(random() * 3)), call)
    }
  }
  if (mode !== 'full') await change(0.7)
  const parent = disk.freeze()
  const tracker = disk.addTracker()
  await change(0.5)
  const source = disk.freeze(mode === 'incremental' ? tracker : undefined)
  return { parent, parentIds: chunkIdsOf(parent.bytes, { chunkSizeBytes: CHUNK_BYTES, idKey }), source, random }
}

/** A disk that reads as the parent, as a new layer above it does, and may lose what is written to it. */
async function layerOn({ parent, random }: Scene): Promise<VolatileSink> {
  const layer = createVolatileSink(parent.sizeBytes, random)
  await layer.write(0, parent.bytes, call)
  await layer.flush(call)
  return layer
}

function taskOf(mode: BackupMode, { parent, parentIds }: Scene, disks: { source: BlockSource; sink: BlockSink }) {
  const chunkIds = new ChunkIds(parent.sizeBytes, CHUNK_BYTES)
  chunkIds.bytes.set(parentIds.bytes)
  const base = mode === 'full' ? {} : { base: parent }
  return { mode, ...disks, ...base, chunkIds, idKey, checkpointEveryBytes: MIB }
}

function expectDone(layer: VolatileSink, chunkIds: ChunkIds, { source }: Scene): void {
  // What was not flushed would be gone.
  layer.lose('stranger')
  expect(Buffer.compare(layer.bytes, source.bytes)).toBe(0)
  expect(Buffer.compare(chunkIds.bytes, chunkIdsOf(source.bytes, { chunkSizeBytes: CHUNK_BYTES, idKey }).bytes)).toBe(0)
}

describe('a backup that loses something', () => {
  test('goes back when writes got lost at any request, and ends with the source’s bytes and ids', async () => {
    await using mover = createMover({ threadsMax: 1 })
    let rewindsSeen = 0
    let checkpointsSeen = 0
    const onProgress = ({ checkpoint, rewinds }: CopyProgress): void => {
      if (rewinds > 0 && checkpoint.offsetBytes > 0) checkpointsSeen += 1
    }
    await fc.assert(
      fc.asyncProperty(anyScenario, async (scenario) => {
        const scene = await makeScene(scenario)
        const layer = await layerOn(scene)
        const watch: RequestWatch = { underWay: 0, count: 0, turns: () => Math.floor(scene.random() * 3) }
        watch.onRequest = (count) => {
          if (scenario.losses.includes(count)) setImmediate(() => layer.lose())
        }
        const task = taskOf(scenario.mode, scene, watchedDisks(scene.source, layer, watch))
        const progress = await mover.copyBackup(task, { ...call, onProgress })
        expectDone(layer, task.chunkIds, scene)
        expect(progress.doneBytes).toBe(progress.plannedBytes)
        expect(progress.rewinds).toBeLessThanOrEqual(scenario.losses.length)
        rewindsSeen += progress.rewinds
      }),
      { numRuns: 50 },
    )
    expect([rewindsSeen > 0, checkpointsSeen > 0]).toEqual([true, true])
  })

  test('goes on after whoever copied died at any request, with nothing but its last checkpoint and the journal', async () => {
    let savedBytes = 0
    await fc.assert(
      fc.asyncProperty(anyScenario, async (scenario) => {
        const scene = await makeScene(scenario)
        const layer = await layerOn(scene)
        const task = taskOf(scenario.mode, scene, { source: scene.source, sink: layer })
        const memory = BackupJournal.of(task.chunkIds, scenario.mode !== 'full').memory
        let resumeFrom = noCheckpoint
        for (const at of [...scenario.losses, Infinity]) {
          const control = new AbortController()
          const watch: RequestWatch = { underWay: 0, count: 0, turns: () => Math.floor(scene.random() * 3) }
          watch.onRequest = (count) => {
            if (count === at) control.abort(new Error('killed'))
          }
          const onProgress = ({ checkpoint }: CopyProgress): void => {
            if (!control.signal.aborted) resumeFrom = checkpoint
          }
          using held = new DisposableStack()
          const journal = new BackupJournal(task.chunkIds, memory)
          const attempt = { ...task, ...watchedDisks(scene.source, layer, watch), journal, resumeFrom }
          const environment = { ...createThreadEnvironment(new SharedArrayBuffer(8 * SLAB_BYTES)), held }
          const copying = copyBackup(attempt, { signal: control.signal, onProgress }, environment)
          const [end] = await Promise.allSettled([copying])
          layer.lose('stranger')
          expect(end.status === 'rejected' ? end.reason.message : 'killed').toBe('killed')
          if (end.status === 'rejected') savedBytes += resumeFrom.offsetBytes
        }
        expectDone(layer, task.chunkIds, scene)
      }),
      { numRuns: 50 },
    )
    expect(savedBytes).toBeGreaterThan(0)
  })

  test('overwrites all that an attempt had begun, whatever it had read, with zeros too', async () => {
    for (const mode of backupModes) {
      for (let seed = 1; seed <= 12; seed += 1) {
        const scene = await makeScene({ mode, sizeBytes: 5 * MIB + 1, seed, losses: [] })
        const layer = await layerOn(scene)
        const task = taskOf(mode, scene, { source: scene.source, sink: layer })
        const journal = BackupJournal.of(task.chunkIds, mode !== 'full')
        // Everything that may differ reads as 0xee, which neither it nor the parent is: nothing is zeros, nothing the same.
        const mad: BlockSource = {
          sizeBytes: scene.source.sizeBytes,
          async *extents(range, options) {
            for await (const extent of scene.source.extents(range, options)) yield { ...extent, zero: false }
          },
          read: async (_offsetBytes, into) => void into.fill(0xee),
          [Symbol.asyncDispose]: async () => undefined,
        }
        const everything = { ...task, checkpointEveryBytes: 100 * MIB, journal }
        await copyBackup({ ...everything, source: mad }, call)
        expect(Buffer.compare(layer.bytes, scene.source.bytes)).not.toBe(0)
        await copyBackup(everything, call)
        expectDone(layer, task.chunkIds, scene)
      }
    }
  })
})
