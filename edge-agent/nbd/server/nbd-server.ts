import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { PlatformError, toPlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { NbdAddress } from '../../block/block-endpoint.ts'
import { BufferPool } from './buffer-pool.ts'
import { listenAt } from './listen-socket.ts'
import { type NbdExport, PAYLOAD_BYTES_MAX, ServedExport } from './nbd-export.ts'
import { ServerConnection } from './server-connection.ts'
import { expectUsable, type NbdServerTls } from './start-tls.ts'

const EXPORTS_MAX = 1024

export interface NbdServerOptions {
  readonly tls: NbdServerTls
  /** Further clients are turned away at once. Default 64. */
  readonly connectionsMax?: number
  /** Of payloads of all connections, at least 32 MiB. Default 256 MiB. */
  readonly memoryMaxBytes?: number
  /** Worked on at once for each connection. Default 64. */
  readonly requestsMax?: number
  /** From connecting to transmission. Default 30 s. */
  readonly handshakeTimeoutMs?: number
  /** A client that leaves a request or a reply half transferred for so long is given up. Default 60 s. */
  readonly stallTimeoutMs?: number
  /** A client that asks nothing for so long is given up. Default: never; a disk of a guest may rest for days. */
  readonly idleTimeoutMs?: number
  /** How long work under way is waited for when an export or the server ends. Default 10 s. */
  readonly drainTimeoutMs?: number
  /** Told of each connection that ended otherwise than in order, with `nbd.*`. */
  readonly onClientError?: (error: PlatformError) => void
}

/**
 * Serves disks over NBD, to any number of clients, on any number of sockets. Exports come and go at any time; the
 * protocol's options, commands and replies are those of FORMAT.md.
 */
export class NbdServer implements AsyncDisposable {
  readonly #options: NbdServerOptions
  readonly #pool: BufferPool
  readonly #exports = new Map<string, ServedExport>()
  readonly #connections = new Set<ServerConnection>()
  readonly #listeners: { readonly server: Server; readonly remove: () => Promise<void> }[] = []
  readonly #connectionsMax: number
  readonly #drainTimeoutMs: number
  #closing: Promise<void> | undefined

  /** @throws PlatformError `input.invalid` where key and certificates are none, or do not belong together */
  constructor(options: NbdServerOptions) {
    const { memoryMaxBytes = 256 * 1024 * 1024, connectionsMax = 64, drainTimeoutMs = 10_000 } = options
    assert(memoryMaxBytes >= PAYLOAD_BYTES_MAX, 'one payload always has room')
    if (options.tls !== 'off') expectUsable(options.tls)
    this.#options = options
    this.#pool = new BufferPool(memoryMaxBytes)
    this.#connectionsMax = connectionsMax
    this.#drainTimeoutMs = drainTimeoutMs
  }

  /** How many clients there are, in the handshake or in transmission. */
  get connectionCount(): number {
    return this.#connections.size
  }

  /** Bytes of payloads that are held now. */
  get heldBytes(): number {
    return this.#pool.leasedBytes
  }

  /**
   * Begins to accept clients there; a unix socket has mode 0600. Resolves with the address clients take.
   * Rejects with `nbd.listen_failed`, `input.invalid`.
   */
  async listen(address: NbdAddress): Promise<NbdAddress> {
    assert(this.#closing === undefined, 'a server that ends listens no more')
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => this.#accept(socket))
    const { address: real, remove } = await listenAt(server, address)
    server.on('error', (error) => {
      this.#report(new PlatformError('nbd.listen_failed', `a client could not be accepted: ${error.message}`))
    })
    this.#listeners.push({ server, remove })
    return real
  }

  /**
   * Offers a disk from now on.
   * @throws PlatformError `input.invalid` where the name is taken or the disk cannot be offered so
   */
  addExport(options: NbdExport): void {
    if (this.#exports.has(options.name)) {
      throw new PlatformError('input.invalid', `there is an export "${options.name}" already`)
    }
    if (this.#exports.size >= EXPORTS_MAX) throw new PlatformError('input.invalid', `${EXPORTS_MAX} exports are enough`)
    this.#exports.set(options.name, new ServedExport(options))
  }

  /**
   * Offers it no more and ends its connections: what was begun is finished as far as `drainTimeoutMs` allows, the rest is
   * refused. Resolves when its source and sink are touched no more; at once where there is no such export.
   */
  async removeExport(name: string): Promise<void> {
    const served = this.#exports.get(name)
    if (served === undefined) return
    this.#exports.delete(name)
    served.withdraw()
    await this.#drain(() => [...this.#connections].filter((connection) => connection.served === served))
    served.ended.abort(ending())
  }

  /** Ends all connections as `removeExport` does, and stops listening. Sources and sinks are touched no more then. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close()
    await this.#closing
  }

  async #close(): Promise<void> {
    for (const { server } of this.#listeners) server.close()
    await this.#drain(() => [...this.#connections])
    for (const served of this.#exports.values()) served.ended.abort(ending())
    for (const { server, remove } of this.#listeners) {
      if (server.listening) await once(server, 'close')
      await remove()
    }
  }

  async #drain(affected: () => ServerConnection[]): Promise<void> {
    const connections = affected()
    for (const connection of connections) connection.drain()
    const timer = setTimeout(() => {
      for (const connection of connections) connection.destroy(ending())
    }, this.#drainTimeoutMs)
    await Promise.all(connections.map(async (connection) => await connection.over))
    clearTimeout(timer)
  }

  #accept(socket: Socket): void {
    if (this.#connections.size >= this.#connectionsMax || this.#closing !== undefined) {
      socket.on('error', () => undefined)
      socket.destroy()
      this.#report(new PlatformError('nbd.access_denied', `a client was turned away: ${this.#connectionsMax} are here`))
      return
    }
    const { tls, requestsMax = 64, handshakeTimeoutMs = 30_000, stallTimeoutMs = 60_000, idleTimeoutMs } = this.#options
    const connection = new ServerConnection({
      socket,
      offer: { find: (name) => this.#find(name), list: () => this.#exports.values() },
      certificate: tls === 'off' ? undefined : tls,
      pool: this.#pool,
      limits: {
        requestsMax,
        handshakeTimeoutMs,
        stallTimeoutMs,
        ...(idleTimeoutMs === undefined ? {} : { idleTimeoutMs }),
      },
    })
    this.#connections.add(connection)
    void this.#forgetWhenOver(connection)
  }

  async #forgetWhenOver(connection: ServerConnection): Promise<void> {
    await connection.over
    this.#connections.delete(connection)
    if (connection.lastError !== undefined) this.#report(toPlatformError(connection.lastError))
  }

  /** A sole export is the default one too (NBD proto.md, "NBD_OPT_EXPORT_NAME"). */
  #find(name: string): ServedExport | undefined {
    const named = this.#exports.get(name)
    if (named !== undefined || name !== '' || this.#exports.size !== 1) return named
    return [...this.#exports.values()][0]
  }

  #report(error: PlatformError): void {
    this.#options.onClientError?.(error)
  }
}

function ending(): PlatformError {
  return new PlatformError('nbd.disconnected', 'the export or its server is ending')
}
