import { mkdir, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import type { LocalTarget } from '../tunnel/tunnel-client.ts'

/** What stands in for a tunnel in tests: a unix socket for each port, and a wire between that can be cut. */
export class TestTunnel implements AsyncDisposable {
  readonly #dir: string
  readonly #targets = new Map<number, LocalTarget>()
  readonly #servers = new Map<number, Server>()
  readonly #sockets = new Set<Socket>()
  #whole = true

  private constructor(dir: string) {
    this.#dir = dir
  }

  static async open(dir: string, ports: readonly number[]): Promise<TestTunnel> {
    await mkdir(dir)
    const tunnel = new TestTunnel(dir)
    for (const port of ports) {
      const server = createServer({ allowHalfOpen: true }, (socket) => tunnel.#accept(port, socket))
      await new Promise<void>((resolve) => server.listen(tunnel.socketPath(port), resolve))
      tunnel.#servers.set(port, server)
    }
    return tunnel
  }

  socketPath(port: number): string {
    return join(this.#dir, `${port}.sock`)
  }

  async setTarget(port: number, target: LocalTarget | undefined): Promise<void> {
    if (target === undefined) this.#targets.delete(port)
    else this.#targets.set(port, target)
  }

  /** All connections are lost, and no new ones are made until `mend`. */
  cut(): void {
    this.#whole = false
    for (const socket of this.#sockets) socket.destroy()
  }

  mend(): void {
    this.#whole = true
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    for (const server of this.#servers.values()) await new Promise((resolve) => server.close(resolve))
    await rm(this.#dir, { recursive: true, force: true })
  }

  #accept(port: number, socket: Socket): void {
    const target = this.#targets.get(port)
    socket.on('error', () => {})
    if (!this.#whole || target === undefined || !('path' in target)) {
      socket.destroy()
      return
    }
    const far = connect({ path: target.path, allowHalfOpen: true })
    far.on('error', () => {})
    for (const [one, other] of [
      [socket, far],
      [far, socket],
    ] as const) {
      this.#sockets.add(one)
      one.on('close', () => {
        this.#sockets.delete(one)
        other.destroy()
      })
      one.pipe(other)
    }
  }
}
