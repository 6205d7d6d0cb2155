import { connect, type Socket } from 'node:net'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions } from '../block/block-source.ts'

const LINE_MAX_BYTES = 16 * 1024 * 1024
const NEWLINE = 0x0a
/** Never part of UTF-8; the guest agent puts it before the answer to `guest-sync-delimited`. */
const SENTINEL = 0xff

/** What a line socket tells its owner. `closed` comes once, after all lines. */
export interface LineListener {
  line(text: string): void
  closed(error: PlatformError): void
}

/** One unix socket that carries JSON values, each on a line: QMP and the guest agent's protocol. */
export class JsonLineSocket {
  readonly #socket: Socket
  readonly #path: string
  #pieces: Buffer[] = []
  #pendingBytes = 0
  #listener: LineListener | undefined
  #failure: PlatformError | undefined

  private constructor(socket: Socket, path: string) {
    this.#socket = socket
    this.#path = path
    socket.on('data', (bytes) => this.#take(bytes))
    socket.on('error', (error) => this.#fail(disconnected(path, error)))
    socket.on('close', () => this.#fail(disconnected(path)))
  }

  /** Rejects with `qemu.disconnected` when nobody listens there, or the signal's reason. */
  static async open(path: string, { signal }: CallOptions): Promise<JsonLineSocket> {
    signal.throwIfAborted()
    const socket = connect(path)
    try {
      await new Promise<void>((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true })
        socket.once('connect', resolve)
        socket.once('error', (error) => reject(disconnected(path, error)))
      })
    } catch (error) {
      socket.on('error', () => {})
      socket.destroy()
      throw error
    }
    return new JsonLineSocket(socket, path)
  }

  /** Set once, directly after `open`: nothing has been read before. */
  listen(listener: LineListener): void {
    this.#listener = listener
  }

  /** `resync` puts the byte first that makes the guest agent forget what was half sent before. */
  send(value: unknown, options: { readonly resync?: boolean } = {}): void {
    if (options.resync === true) this.#socket.write(Uint8Array.of(SENTINEL))
    this.#socket.write(`${JSON.stringify(value)}\n`)
  }

  /** Closes at once. The listener hears `closed` when it has not yet. */
  close(): void {
    this.#socket.destroy()
    this.#fail(new PlatformError('qemu.disconnected', `the connection to ${this.#path} was closed`))
  }

  #take(bytes: Buffer): void {
    let rest = bytes
    for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
      this.#pieces.push(rest.subarray(0, end))
      const line = Buffer.concat(this.#pieces)
      this.#pieces = []
      this.#pendingBytes = 0
      rest = rest.subarray(end + 1)
      this.#listener?.line(line.subarray(line.lastIndexOf(SENTINEL) + 1).toString('utf8'))
    }
    if (rest.length > 0) this.#pieces.push(rest)
    this.#pendingBytes += rest.length
    if (this.#pendingBytes > LINE_MAX_BYTES) {
      this.#socket.destroy()
      this.#fail(new PlatformError('source.protocol_violation', `${this.#path} sent a line of more than 16 MiB`))
    }
  }

  #fail(error: PlatformError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#listener?.closed(error)
  }
}

function disconnected(path: string, cause?: Error): PlatformError {
  const text = cause === undefined ? `${path} was closed by its other end` : `${path}: ${cause.message}`
  return new PlatformError('qemu.disconnected', text, { cause })
}
