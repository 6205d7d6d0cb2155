import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { BlockSink } from '../block/block-sink.ts'
import type { BlockSource, CallOptions } from '../block/block-source.ts'
import { countingSource } from '../block/layers/counting-source.ts'
import { retryingSource } from '../block/layers/retrying-source.ts'
import { Checkpoints } from './checkpoints.ts'
import { CopyCounters } from './copy-counters.ts'
import { type CopyEnvironment, newOwner } from './copy-environment.ts'
import { CopyExtents } from './copy-extents.ts'
import { type CopyRun, type PlanOptions, plannedBytesOf, planRuns, runBytesMax } from './copy-plan.ts'
import { type AnyCopyTask, type CopyCheckpoint, type CopyOptions, type CopyProgress, noCheckpoint } from './mover.ts'
import { PauseSwitch } from './pause-switch.ts'
import { RunPump, type RunWork } from './run-pump.ts'
import { slabsFor } from './slabs/run-buffer.ts'
import { SlabWindow } from './slabs/slab-window.ts'

/** Where the task does not say. */
export const BUFFER_BYTES_MAX = 16 * 1024 * 1024
export const CHECKPOINT_EVERY_BYTES = 1024 * 1024 * 1024

export interface CopyDisks {
  readonly source: BlockSource
  readonly sink: BlockSink | undefined
  readonly base: BlockSource | undefined
}

/** What the three kinds of copies have in common. */
export interface CopyShape {
  readonly task: AnyCopyTask & { readonly source: BlockSource }
  readonly dirtyOnly: boolean
  readonly plan: Omit<PlanOptions, 'zeroRuns'>
  /** Absent: nothing is written. */
  readonly sink: BlockSink | undefined
  /** The parent's content. Absent: the copy needs none. */
  readonly base?: BlockSource | undefined
  /** Absent: the copy has no checkpoints. */
  readonly resume: { readonly from: CopyCheckpoint; readonly everyBytes: number | undefined } | undefined
  /** @param disks the same ones: what they refuse is tried again, what is read counted, and it is seen when a write fails */
  readonly work: (disks: CopyDisks, counters: CopyCounters) => RunWork
}

/** Plans and pumps one copy to its end, flushed. */
export async function runCopy(
  shape: CopyShape,
  { signal, onProgress, pause = new PauseSwitch() }: CopyOptions,
  environment: CopyEnvironment,
): Promise<CopyProgress> {
  signal.throwIfAborted()
  expectSameSource(shape)
  const { task } = shape
  const { slabs, held, nowMs } = environment
  const counters = new CopyCounters(nowMs, shape.resume?.from ?? noCheckpoint)
  const runBytes = runBytesMax(shape.plan.chunkSizeBytes)
  const slabsPerRun = slabsFor(runBytes)
  const share = held.use(slabs.join(task.owner ?? newOwner(), { slabsPerRun }))
  const windowMax = Math.max(1, Math.floor(slabsFor(task.bufferBytesMax ?? BUFFER_BYTES_MAX) / slabsPerRun))
  const checkpoints = checkpointsOf(shape, counters)
  const sink = shape.sink === undefined ? undefined : (checkpoints?.guard(shape.sink) ?? shape.sink)
  const name = task.diskId === undefined ? undefined : `disk ${task.diskId}`
  const source = triedAgain(task.source, { name, counters, environment })
  const baseName = name === undefined ? 'the base' : `the base of ${name}`
  const base = shape.base && triedAgain(shape.base, { name: baseName, counters, environment })
  const fromBytes = shape.resume?.from.offsetBytes ?? 0
  const { dirtyOnly } = shape
  const extents = new CopyExtents({ source, lane: task.lane, fromBytes, dirtyOnly, counters, pause })
  const plan = (call: CallOptions): AsyncGenerator<readonly CopyRun[], void, undefined> => {
    return planRuns(extents.all(call), { ...shape.plan, zeroRuns: work.zero !== undefined })
  }
  const read = countingSource(source, (bytes) => counters.add('readBytes', bytes))
  const work = counted(shape.work({ source: read, sink, base }, counters), counters)
  const pump = new RunPump(
    {
      share,
      // Among others it takes its part at once: trying it out would take long before servers that are busy for them.
      window: new SlabWindow(windowMax, share.partCount),
      runBytesMax: runBytes,
      throttles: task.throttles ?? [],
      pause,
      nowMs,
      onState: (state) => counters.set({ state }),
      untilPlanQuiet: () => extents.untilQuiet(),
      ...(checkpoints === undefined ? {} : { checkpoints }),
    },
    work,
  )
  return await counters.report(onProgress, async () => {
    await pump.run(plan, { signal })
    await sink?.flush({ signal })
    checkpoints?.end()
  })
}

function expectSameSource({ resume, plan: { sizeBytes } }: CopyShape): void {
  if (resume === undefined || resume.from.offsetBytes === 0 || resume.from.sizeBytes === sizeBytes) return
  const message = `the source disk has ${sizeBytes} bytes; the copy to go on with was of one with ${resume.from.sizeBytes}`
  throw new PlatformError('source.disk_size_changed', message)
}

/** The disk as the copy reads it: what it refuses is asked for again. The caller disposes `disk`, not we. */
function triedAgain(
  disk: BlockSource,
  {
    name,
    counters,
    environment: { clock, random },
  }: { readonly name: string | undefined; readonly counters: CopyCounters; readonly environment: CopyEnvironment },
): BlockSource {
  const onRetry = (): void => counters.add('retriedReads', 1)
  return retryingSource(disk, { ...(name === undefined ? {} : { name }), clock, random, onRetry })
}

function checkpointsOf(
  { resume, sink, plan: { sizeBytes } }: CopyShape,
  counters: CopyCounters,
): Checkpoints | undefined {
  if (resume === undefined) return undefined
  return new Checkpoints({
    from: resume.from,
    sizeBytes,
    everyBytes: resume.everyBytes ?? CHECKPOINT_EVERY_BYTES,
    ...(sink === undefined ? {} : { sink }),
    onCheckpoint: (checkpoint) => counters.set({ checkpoint }),
  })
}

function counted(work: RunWork, counters: CopyCounters): RunWork {
  return {
    ...work,
    data: async (run, buffer, options) => {
      await work.data(run, buffer, options)
      counters.add('doneBytes', plannedBytesOf(run))
      counters.add('doneExtents', run.extentsBegun)
    },
  }
}
