import process from 'node:process'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { formatDuration } from '@sendense/shared/domain/duration.ts'
import type { LostRange } from '../archive.ts'
import { printable } from './plain-text.ts'

const JSON_INTERVAL_MS = 1000
const LINE_INTERVAL_MS = 100
const ERASE_LINE = '\r\u001B[K'

/**
 * What a command says: results on standard output, as text or as JSON lines; warnings and, at a terminal, a line that
 * shows how far it has come, on standard error.
 */
export class Report {
  readonly #json: boolean
  #lastMs = -Infinity
  #hasLine = false
  #beganMs = performance.now()
  #doneBytes = 0

  constructor({ json = false }: { readonly json?: boolean | undefined }) {
    this.#json = json
  }

  /** One event: an object for programs, a sentence for people; an empty one is only for programs. */
  say(facts: object, text: string): void {
    this.#clear()
    if (this.#json) process.stdout.write(`${JSON.stringify(facts)}\n`)
    else if (text !== '') process.stdout.write(`${printable(text)}\n`)
  }

  warn(text: string): void {
    this.#clear()
    if (this.#json) process.stdout.write(`${JSON.stringify({ event: 'warning', message: text })}\n`)
    else process.stderr.write(`warning: ${printable(text)}\n`)
  }

  lost({ diskId, offsetBytes, lengthBytes, why }: LostRange): void {
    const text = `missing: disk ${diskId}, bytes ${offsetBytes} to ${offsetBytes + lengthBytes - 1}: ${why}`
    this.say({ event: 'missing', diskId, offsetBytes, lengthBytes, why }, text)
  }

  /** A new thing of this many bytes begins. */
  begin(): void {
    this.#beganMs = performance.now()
    this.#doneBytes = 0
  }

  progress(what: string, bytes: number, totalBytes: number): void {
    this.#doneBytes += bytes
    const nowMs = performance.now()
    if (nowMs - this.#lastMs < (this.#json ? JSON_INTERVAL_MS : LINE_INTERVAL_MS)) return
    this.#lastMs = nowMs
    const doneBytes = this.#doneBytes
    if (this.#json) this.say({ event: 'progress', what, doneBytes, totalBytes }, '')
    else if (process.stderr.isTTY) this.#line(what, doneBytes, totalBytes, nowMs - this.#beganMs)
  }

  /** For people: `1.5 GiB in 12 s, 128 MiB/s`. */
  speed(bytes: number): string {
    const milliseconds = performance.now() - this.#beganMs
    const perSecond = Math.round((bytes * 1000) / Math.max(1, milliseconds))
    return `${formatByteSize(bytes)} in ${formatDuration(milliseconds)}, ${formatByteSize(perSecond)}/s`
  }

  #line(what: string, doneBytes: number, totalBytes: number, milliseconds: number): void {
    const share = totalBytes === 0 ? 100 : Math.min(100, Math.floor((100 * doneBytes) / totalBytes))
    const perMs = doneBytes / Math.max(1, milliseconds)
    const left = perMs > 0 ? `, ${formatDuration(Math.max(0, totalBytes - doneBytes) / perMs)} left` : ''
    const text = `${what}: ${formatByteSize(doneBytes)} of ${formatByteSize(totalBytes)}, ${share} %, `
    process.stderr.write(`${ERASE_LINE}${printable(text)}${formatByteSize(Math.round(perMs * 1000))}/s${left}`)
    this.#hasLine = true
  }

  #clear(): void {
    if (this.#hasLine) process.stderr.write(ERASE_LINE)
    this.#hasLine = false
  }
}
