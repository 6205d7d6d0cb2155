import { once } from 'node:events'
import { chmod, mkdir, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'

/** unix(7): the path, with a zero byte, has room in 108 bytes. */
const SOCKET_PATH_BYTES_MAX = 107
const LONGEST_NAMES = path.join('00000000-0000-0000-0000-000000000000', '65535.sock')
const BACKLOG = 256

export type PortConnectionHandler = (captureAgentId: string, port: number, socket: Socket) => void

/**
 * One unix socket for each forwarded port, in a directory of its own capture agent, for the agent's user only. Opened
 * sockets are handed to `onConnection` unread; it owns them.
 */
export class PortSockets {
  readonly #directory: string
  readonly #onConnection: PortConnectionHandler
  readonly #servers = new Map<string, Server>()
  /** One change at a time, so that a port that closes and opens again does so in this order. */
  #changes: Promise<void> = Promise.resolve()

  private constructor(directory: string, onConnection: PortConnectionHandler) {
    this.#directory = directory
    this.#onConnection = onConnection
  }

  /**
   * Takes `directory` for its own: what a dead process left there goes. Returns how to open the sockets.
   * Rejects with `config.invalid` where its path is too long for a socket.
   */
  static async prepare(directory: string): Promise<(onConnection: PortConnectionHandler) => PortSockets> {
    const longest = Buffer.byteLength(path.join(directory, LONGEST_NAMES))
    if (longest > SOCKET_PATH_BYTES_MAX) {
      const over = longest - SOCKET_PATH_BYTES_MAX
      throw new PlatformError('config.invalid', `the runtime directory's path is ${over} bytes too long: ${directory}`)
    }
    await rm(directory, { recursive: true, force: true })
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await chmod(directory, 0o700)
    return (onConnection) => new PortSockets(directory, onConnection)
  }

  pathOf(captureAgentId: string, port: number): string {
    return path.join(this.#directory, captureAgentId, `${port}.sock`)
  }

  /** Resolves when the port can be connected to. Does nothing where it can be already. */
  async listen(captureAgentId: string, port: number): Promise<void> {
    await this.#change(async () => {
      const file = this.pathOf(captureAgentId, port)
      if (this.#servers.has(file)) return
      await mkdir(path.dirname(file), { recursive: true, mode: 0o700 })
      await rm(file, { force: true })
      const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
        // Nobody else listens to it until it is handed on.
        socket.on('error', () => undefined)
        this.#onConnection(captureAgentId, port, socket)
      })
      server.listen({ path: file, backlog: BACKLOG })
      await once(server, 'listening')
      server.on('error', () => undefined)
      await chmod(file, 0o600)
      this.#servers.set(file, server)
    })
  }

  /** Nothing can connect to the port any more; what has connected stays. */
  async close(captureAgentId: string, port: number): Promise<void> {
    await this.#change(async () => {
      const file = this.pathOf(captureAgentId, port)
      this.#servers.get(file)?.close()
      this.#servers.delete(file)
      await rm(file, { force: true })
    })
  }

  async closeAll(): Promise<void> {
    await this.#change(async () => {
      for (const server of this.#servers.values()) server.close()
      this.#servers.clear()
      await rm(this.#directory, { recursive: true, force: true })
    })
  }

  async #change(work: () => Promise<void>): Promise<void> {
    const done = this.#changes.then(work)
    this.#changes = done.catch(() => undefined)
    await done
  }
}
