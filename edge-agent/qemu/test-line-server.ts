import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What the other end of a line socket does with one line; `reply` sends text as it is, newline included or not. */
export type LineHandler = (line: string, reply: (text: string) => void, socket: Socket) => void

/** A unix socket of this process that speaks lines, for tests of clients against ends that misbehave. */
export class TestLineServer implements AsyncDisposable {
  readonly path: string
  readonly #dir: string
  readonly #sockets = new Set<Socket>()
  readonly #server

  private constructor(dir: string, path: string, greeting: string, handle: LineHandler) {
    this.#dir = dir
    this.path = path
    this.#server = createServer((socket) => {
      this.#sockets.add(socket)
      socket.on('error', () => socket.destroy())
      const reply = (text: string): void => void socket.write(Buffer.from(text, 'latin1'))
      if (greeting !== '') reply(greeting)
      let rest = ''
      socket.on('data', (bytes) => {
        const lines = (rest + bytes.toString('latin1')).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) handle(line.replaceAll('\u00FF', ''), reply, socket)
      })
    })
  }

  /** Listens at `path`, or at one of its own. */
  static async open(options: {
    readonly path?: string
    readonly greeting?: string
    readonly handle: LineHandler
  }): Promise<TestLineServer> {
    const dir = await mkdtemp(join(tmpdir(), 'sd-line-'))
    const path = options.path ?? join(dir, 'line.sock')
    const server = new TestLineServer(dir, path, options.greeting ?? '', options.handle)
    await new Promise<void>((resolve) => server.#server.listen(server.path, resolve))
    return server
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
    await rm(this.#dir, { recursive: true, force: true })
  }
}
