import type { Socket } from 'node:net'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

const NEWLINE = 0x0a
/** What may wait for a peer that does not read. */
const UNREAD_MAX_BYTES = 8 * 1024 * 1024

export interface JsonLinesOptions {
  /** Longest line that is taken, in bytes. */
  readonly lineMaxBytes: number
  /** Each line's value, in order. */
  readonly onValue: (value: unknown) => void
  /** Once; the reason is a PlatformError unless `close` was called. */
  readonly onClosed: (reason: unknown) => void
}

/**
 * JSON values on a byte stream, one a line, both ways. A line that is too long or no JSON, and a peer that does not read
 * what it is sent, end the connection with `capture.protocol_violation`.
 */
export class JsonLines {
  readonly #socket: Socket
  readonly #options: JsonLinesOptions
  #pieces: Buffer[] = []
  #pendingBytes = 0
  #over = false

  /** The socket is this object's from now on. */
  constructor(socket: Socket, options: JsonLinesOptions) {
    this.#socket = socket
    this.#options = options
    socket.on('data', (bytes) => this.#take(bytes))
    socket.on('error', (error) => this.#end(lost(error)))
    socket.on('close', () => this.#end(lost()))
  }

  /** Does nothing once the connection is over. */
  send(value: unknown): void {
    if (this.#over) return
    this.#socket.write(`${JSON.stringify(value)}\n`)
    if (this.#socket.writableLength > UNREAD_MAX_BYTES) this.#end(violation('it does not read what it is sent'))
  }

  /** No more values until `resume`, so that the peer has to wait. */
  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    if (!this.#over) this.#socket.resume()
  }

  close(reason: unknown): void {
    this.#end(reason)
  }

  #take(bytes: Buffer): void {
    let rest = bytes
    for (let end = rest.indexOf(NEWLINE); end >= 0 && !this.#over; end = rest.indexOf(NEWLINE)) {
      const line = this.#pendingBytes + end
      if (line > this.#options.lineMaxBytes) return this.#end(violation(`it sent a line of ${line} bytes`))
      this.#pieces.push(rest.subarray(0, end))
      const text = Buffer.concat(this.#pieces).toString('utf8')
      this.#pieces = []
      this.#pendingBytes = 0
      rest = rest.subarray(end + 1)
      this.#takeLine(text)
    }
    if (this.#over) return
    if (rest.length > 0) this.#pieces.push(rest)
    this.#pendingBytes += rest.length
    if (this.#pendingBytes > this.#options.lineMaxBytes) this.#end(violation('it sent a line without an end'))
  }

  #takeLine(text: string): void {
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      this.#end(violation('it sent a line that is no JSON'))
      return
    }
    this.#options.onValue(value)
  }

  #end(reason: unknown): void {
    if (this.#over) return
    this.#over = true
    this.#pieces = []
    this.#socket.destroy()
    this.#options.onClosed(reason)
  }
}

function lost(cause?: Error): PlatformError {
  const text = cause === undefined ? 'the connection was closed' : `the connection was lost: ${cause.message}`
  return new PlatformError('capture.disconnected', text, { cause })
}

function violation(what: string): PlatformError {
  return new PlatformError('capture.protocol_violation', `the other end breaks the protocol: ${what}`)
}
