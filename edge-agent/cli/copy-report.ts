import process from 'node:process'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { formatDuration } from '@sendense/shared/domain/duration.ts'
import type { CopyCheckpoint, CopyProgress } from '../mover/mover.ts'

const JSON_INTERVAL_MS = 1000
const ERASE_LINE = '\r\u001B[K'

export interface CopyReportOptions {
  /** JSON lines on standard output instead of text. */
  readonly json: boolean
  /** Nothing but the end. */
  readonly quiet: boolean
}

/** What `copy` says while it runs: a line that changes for people at a terminal, JSON lines for programs. */
export class CopyReport {
  readonly #options: CopyReportOptions
  readonly #startMs = performance.now()
  #lastJsonMs = -Infinity
  #hasLine = false
  #rewinds = 0
  #retriedReads = 0

  constructor(options: CopyReportOptions) {
    this.#options = options
  }

  resuming(offsetBytes: number): void {
    this.#say({ event: 'resuming', offsetBytes }, `going on at ${formatByteSize(offsetBytes)}`)
  }

  progress(progress: CopyProgress): void {
    this.#troubles(progress)
    if (this.#options.json) this.#progressJson(progress)
    else if (process.stderr.isTTY && !this.#options.quiet) this.#line(describe(progress))
  }

  /** Kept in the file. */
  checkpoint({ offsetBytes }: CopyCheckpoint): void {
    if (this.#options.json) this.#say({ event: 'checkpoint', offsetBytes }, '')
  }

  checkpointFailed(error: unknown): void {
    const why = error instanceof Error ? error.message : String(error)
    const text = `warning: the checkpoint could not be written, so the copy could not go on after an end: ${why}`
    this.#say({ event: 'checkpoint-failed', message: why }, text)
  }

  done(progress: CopyProgress): void {
    const seconds = (performance.now() - this.#startMs) / 1000
    const { readBytes, writtenBytes, zeroedBytes } = progress
    const speed = `${formatByteSize(Math.round(readBytes / Math.max(seconds, 0.001)))}/s`
    const parts = [`read ${formatByteSize(readBytes)}`, `wrote ${formatByteSize(writtenBytes)}`]
    if (zeroedBytes > 0) parts.push(`zeroed ${formatByteSize(zeroedBytes)}`)
    const text = `done in ${formatDuration(seconds * 1000)}: ${parts.join(', ')}; ${speed}`
    this.#say({ event: 'done', seconds, ...progress }, text)
  }

  cancelled(progress: CopyProgress, checkpointFile: string | undefined): void {
    const again =
      checkpointFile === undefined
        ? 'without --checkpoint it begins anew next time'
        : `run it again with --checkpoint ${checkpointFile} to go on at ${formatByteSize(progress.checkpoint.offsetBytes)}`
    this.#say({ event: 'cancelled', ...progress }, `cancelled; ${again}`)
  }

  /** Removes the changing line, for what others print. */
  clear(): void {
    if (this.#hasLine) process.stderr.write(ERASE_LINE)
    this.#hasLine = false
  }

  /** What somebody should look at, once for each. */
  #troubles({ retriedReads, rewinds, checkpoint: { offsetBytes } }: CopyProgress): void {
    if (retriedReads > this.#retriedReads) {
      this.#retriedReads = retriedReads
      this.#say({ event: 'read-retried', count: retriedReads }, `${retriedReads} reads failed and were tried again`)
    }
    if (rewinds > this.#rewinds) {
      this.#rewinds = rewinds
      const text = `the target may have lost what was not flushed: going back to ${formatByteSize(offsetBytes)}`
      this.#say({ event: 'rewound', offsetBytes, count: rewinds }, text)
    }
  }

  #progressJson(progress: CopyProgress): void {
    const nowMs = performance.now()
    if (this.#options.quiet || nowMs - this.#lastJsonMs < JSON_INTERVAL_MS) return
    this.#lastJsonMs = nowMs
    this.#say({ event: 'progress', ...progress }, '')
  }

  #line(text: string): void {
    process.stderr.write(`${ERASE_LINE}${text}`)
    this.#hasLine = true
  }

  #say(facts: object, text: string): void {
    this.clear()
    process.stdout.write(`${this.#options.json ? JSON.stringify(facts) : text}\n`)
  }
}

function describe({ state, doneBytes, plannedBytes, isPlanComplete, bytesPerSecond }: CopyProgress): string {
  const about = isPlanComplete ? '' : 'at least '
  const share = plannedBytes === 0 ? 100 : Math.floor((100 * doneBytes) / plannedBytes)
  const parts = [`${formatByteSize(doneBytes)} of ${about}${formatByteSize(plannedBytes)}`]
  if (isPlanComplete) parts.push(`${share} %`)
  parts.push(`${formatByteSize(bytesPerSecond)}/s`)
  if (isPlanComplete && bytesPerSecond > 0) {
    parts.push(`${formatDuration(((plannedBytes - doneBytes) / bytesPerSecond) * 1000)} left`)
  }
  return `${parts.join(', ')}${state === 'running' ? '' : `, ${state}`}`
}
