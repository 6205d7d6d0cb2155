import { isPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { Checkpoints } from './checkpoints.ts'
import { type CopyRun, type DataRun, readBytesOf, type ZeroRun } from './copy-plan.ts'
import type { CopyState } from './mover.ts'
import type { PauseSwitch } from './pause-switch.ts'
import type { Throttle } from './rate/shared-throttle.ts'
import type { RunBuffer } from './slabs/run-buffer.ts'
import type { SlabShare } from './slabs/slab-pool.ts'
import type { SlabWindow } from './slabs/slab-window.ts'
import { worstFailure } from './worst-failure.ts'

/** Requests without data that are under way at once. */
const ZERO_RUNS_MAX = 16
/** The copy was paused, or goes on. */
const CHANGED = Symbol('changed')

/** What is done with each run. */
export interface RunWork {
  /** @param buffer of the run's length or more; its content is whatever was there */
  readonly data: (run: DataRun, buffer: RunBuffer, options: CallOptions) => Promise<void>
  /** Absent: the plan has no runs of zeros. */
  readonly zero?: (run: ZeroRun, options: CallOptions) => Promise<void>
}

export interface PumpParts {
  readonly share: SlabShare
  readonly window: SlabWindow
  /** How long a run of data is at most. */
  readonly runBytesMax: number
  readonly throttles: readonly Throttle[]
  readonly pause: PauseSwitch
  readonly nowMs: () => number
  readonly onState: (state: CopyState) => void
  /** Resolves when the paused plan asks nothing of the source any more. */
  readonly untilPlanQuiet: () => Promise<void>
  readonly checkpoints?: Checkpoints
}

/**
 * Works on several runs of one copy at once, each in a buffer of its own, so that reads of one overlap writes of another. Runs
 * begin in the order of the plan: held up by the pause switch first, then by the throttles, then by the copy's window,
 * then by its turn at the memory.
 */
export class RunPump {
  readonly #parts: PumpParts
  readonly #work: RunWork
  readonly #failures: unknown[] = []
  #underWay = 0
  /** Ends what is under way. */
  readonly #abandon = new AbortController()
  /** Ends the waiting for the next run. */
  readonly #stop = new AbortController()
  #dataRuns = 0
  #dataBytes = 0
  #zeroRuns = 0
  #settled: PromiseWithResolvers<void> | undefined

  constructor(parts: PumpParts, work: RunWork) {
    this.#parts = parts
    this.#work = work
  }

  /**
   * Works on all runs of the plan. Settles only when nothing is under way any more. After a corrupt chunk the runs before it are
   * finished, so that the error names the first one; after any other error everything is aborted. Buffers of runs that
   * failed stay the share's until it is disposed: by then the connections that may still hold them are closed.
   * @param plan is given the signal that ends it
   */
  async run(plan: (call: CallOptions) => AsyncGenerator<readonly CopyRun[], void>, { signal }: CallOptions) {
    const work = AbortSignal.any([signal, this.#abandon.signal])
    const dispatch = AbortSignal.any([work, this.#stop.signal])
    const [wait, call] = [{ signal: dispatch }, { signal: work }]
    const runs = plan(wait)
    try {
      for (;;) {
        const next = await this.#unlessPaused(runs.next(), wait)
        if (next.done === true) break
        for (const run of next.value) await this.#dispatch(run, wait, call)
      }
    } catch (error) {
      this.#fail(error)
    }
    await this.#untilIdle()
    await runs.return()
    signal.throwIfAborted()
    if (this.#failures.length > 0) throw worstFailure(this.#failures)
  }

  /** What is coming, when the copy is not paused. It may come meanwhile: the pause does not wait for it, nor it for the pause. */
  async #unlessPaused<T>(coming: Promise<T>, wait: CallOptions): Promise<T> {
    const { pause } = this.#parts
    // Whoever does not wait for it any more has another error to tell of.
    coming.catch(() => undefined)
    for (;;) {
      if (pause.isPaused) await this.#untilRunning(wait)
      const changed = Promise.withResolvers<typeof CHANGED>()
      using _listening = pause.onChange(() => changed.resolve(CHANGED))
      // It may have been paused again before anybody listened.
      if (pause.isPaused) continue
      const first = await Promise.race([coming, changed.promise])
      wait.signal.throwIfAborted()
      if (first !== CHANGED) return first
    }
  }

  async #dispatch(run: CopyRun, wait: CallOptions, work: CallOptions): Promise<void> {
    const { share, pause, throttles, checkpoints } = this.#parts
    wait.signal.throwIfAborted()
    if (run.kind === 'zero') {
      if (pause.isPaused) await this.#untilRunning(wait)
      while (this.#zeroRuns >= ZERO_RUNS_MAX) await this.#untilSettled(wait)
      checkpoints?.begin(run)
      this.#zeroRuns += 1
      this.#begin(this.#zeroRun(run, work))
      return
    }
    for (const throttle of throttles) {
      if (throttle.bytesPerSecond === undefined) continue
      share.setResting(true)
      await this.#unlessPaused(throttle.take(readBytesOf(run), wait), wait)
    }
    const buffer = await this.#takeBuffer(wait)
    checkpoints?.begin(run)
    this.#dataRuns += 1
    this.#dataBytes += run.lengthBytes
    this.#begin(this.#dataRun(run, buffer, work))
  }

  async #zeroRun(run: ZeroRun, call: CallOptions): Promise<void> {
    await this.#work.zero?.(run, call)
    this.#zeroRuns -= 1
    this.#settle(run, call)
  }

  async #dataRun(run: DataRun, buffer: RunBuffer, call: CallOptions): Promise<void> {
    await this.#work.data(run, buffer, call)
    this.#dataRuns -= 1
    this.#dataBytes -= run.lengthBytes
    this.#parts.share.giveBack(buffer)
    this.#parts.window.note(run.lengthBytes, this.#parts.nowMs())
    this.#settle(run, call)
  }

  /** The window is of full runs: of scattered small ones, which wait rather than work, more are under way. */
  get #isWindowFull(): boolean {
    const { window, runBytesMax } = this.#parts
    return this.#dataRuns >= window.max || this.#dataBytes >= window.size * runBytesMax
  }

  /** A buffer, when the copy is not paused. */
  async #takeBuffer(wait: CallOptions): Promise<RunBuffer> {
    const { share, pause } = this.#parts
    for (;;) {
      if (pause.isPaused) await this.#untilRunning(wait)
      while (this.#isWindowFull) await this.#untilSettled(wait)
      const buffer = await share.acquire(wait)
      if (!pause.isPaused && !wait.signal.aborted) return buffer
      share.giveBack(buffer)
    }
  }

  #settle(run: CopyRun, call: CallOptions): void {
    const { checkpoints } = this.#parts
    checkpoints?.settle(run)
    if (checkpoints?.isDue === true) this.#begin(checkpoints.take(call))
  }

  /** Something is under way from now on until it settles. */
  #begin(work: Promise<void>): void {
    this.#underWay += 1
    void this.#end(work)
  }

  async #end(work: Promise<void>): Promise<void> {
    try {
      await work
    } catch (error) {
      this.#fail(error)
    }
    this.#underWay -= 1
    this.#settled?.resolve()
    this.#settled = undefined
  }

  #fail(error: unknown): void {
    this.#failures.push(error)
    this.#stop.abort(error)
    if (!isPlatformError(error, 'repository.chunk_corrupt')) this.#abandon.abort(error)
  }

  async #untilSettled({ signal }: CallOptions): Promise<void> {
    this.#settled ??= Promise.withResolvers<void>()
    await this.#settled.promise
    signal.throwIfAborted()
  }

  async #untilIdle(): Promise<void> {
    while (this.#underWay > 0) {
      this.#settled ??= Promise.withResolvers<void>()
      await this.#settled.promise
    }
  }

  /** While the copy is paused nothing is begun; what had begun is finished and made durable, and no buffer is kept for it. */
  async #untilRunning(wait: CallOptions): Promise<void> {
    const { pause, share, checkpoints, onState, untilPlanQuiet } = this.#parts
    if (!pause.isPaused) return
    onState('pausing')
    await this.#untilIdle()
    await untilPlanQuiet()
    wait.signal.throwIfAborted()
    await checkpoints?.take(wait)
    share.setResting(true)
    if (pause.isPaused) onState('paused')
    await pause.untilRunning(wait)
    onState('running')
  }
}
