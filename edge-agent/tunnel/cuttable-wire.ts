import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** A TCP port in front of another, for tests: what goes through it can be cut, or fall silent as a dead network does. */
export class CuttableWire implements AsyncDisposable {
  readonly #server: Server
  readonly #pairs = new Set<readonly [Socket, Socket]>()
  #isSilent = false

  private constructor(to: number) {
    this.#server = createServer({ allowHalfOpen: true }, (near) => {
      const far = connect({ port: to, host: '127.0.0.1', allowHalfOpen: true })
      const pair = [near, far] as const
      this.#pairs.add(pair)
      for (const [from, onto] of [pair, [far, near] as const]) {
        from.on('error', () => undefined)
        // Nothing tells the other side while the wire is silent.
        from.on('data', (chunk: Buffer) => {
          if (this.#isSilent || onto.write(chunk)) return
          from.pause()
          onto.once('drain', () => from.resume())
        })
        from.on('end', () => this.#isSilent || onto.end())
        from.on('close', () => {
          if (!this.#isSilent) onto.destroy()
          this.#pairs.delete(pair)
        })
      }
    })
  }

  static async open(to: number): Promise<CuttableWire> {
    const wire = new CuttableWire(to)
    wire.#server.listen(0, '127.0.0.1')
    await once(wire.#server, 'listening')
    return wire
  }

  get port(): number {
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  /** Resets every connection; new ones can be made. */
  cut(): void {
    for (const sockets of this.#pairs) for (const socket of sockets) socket.resetAndDestroy()
  }

  /** Connections stay and nothing passes them any more, the end neither, until `speak`. */
  fallSilent(): void {
    this.#isSilent = true
  }

  /** Connections made from now on work. */
  speak(): void {
    this.#isSilent = false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    this.#server.close()
  }
}
