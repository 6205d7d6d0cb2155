import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { createLogger } from '@sendense/shared/runtime/logger.ts'
import { MemoryTunnelGrants } from './memory-tunnel-grants.ts'
import { generateEd25519Key, readEd25519Key } from './ssh/ed25519-key.ts'
import { usualTimes } from './ssh/ssh-transport.ts'
import { TunnelClient, type TunnelClientOptions } from './tunnel-client.ts'
import { type Refusal, TunnelServer, type TunnelServerOptions } from './tunnel-server.ts'

export const PORTS = [20_001, 20_002]
export const testLogger = createLogger('test', 'silent')
/** Soon enough for tests that wait for it. */
const quickRetry = { baseMs: 50, capMs: 200 }

/** A server with what tests ask of it; everything in one temporary directory. */
export class TestTunnel implements AsyncDisposable {
  readonly directory: string
  readonly grants: MemoryTunnelGrants
  readonly refusals: Refusal[]
  readonly captureAgentId = randomUUID()
  readonly key = generateEd25519Key()
  readonly #serverOptions: Partial<TunnelServerOptions>
  readonly #owned: (() => Promise<void>)[] = []
  #server: TunnelServer | undefined
  #services = 0

  private constructor(directory: string, serverOptions: Partial<TunnelServerOptions>) {
    this.directory = directory
    this.grants = new MemoryTunnelGrants()
    this.refusals = []
    this.#serverOptions = serverOptions
    this.grants.add(readEd25519Key(this.key, 'test').fingerprint, {
      captureAgentId: this.captureAgentId,
      name: 'host-1',
      ports: PORTS,
    })
  }

  static async open(serverOptions: Partial<TunnelServerOptions> = {}): Promise<TestTunnel> {
    const tunnel = new TestTunnel(await mkdtemp(path.join(tmpdir(), 'sendense-tunnel-')), serverOptions)
    await tunnel.startServer(0)
    return tunnel
  }

  get server(): TunnelServer {
    if (this.#server === undefined) throw new Error('the server does not run')
    return this.#server
  }

  async startServer(port: number): Promise<void> {
    this.#server = await TunnelServer.open({
      host: '127.0.0.1',
      stateDir: path.join(this.directory, 'state'),
      runtimeDir: this.directory,
      grants: this.grants,
      clock: systemClock,
      logger: testLogger,
      onRefused: (refusal) => this.refusals.push(refusal),
      ...this.#serverOptions,
      port,
    })
  }

  async stopServer(): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]()
    this.#server = undefined
  }

  /** A client with the granted key, ended with the tunnel. */
  client(options: Partial<TunnelClientOptions> = {}): TunnelClient {
    const client = new TunnelClient({
      address: { host: '127.0.0.1', port: this.server.port },
      hostKeyFingerprint: this.server.hostKeyFingerprint,
      key: this.key,
      ports: PORTS,
      clock: systemClock,
      logger: testLogger,
      times: usualTimes,
      retry: quickRetry,
      ...options,
    })
    this.#owned.push(async () => await client[Symbol.asyncDispose]())
    return client
  }

  /** A service on a unix socket of its own, ended with the tunnel. */
  async service(onConnection: (socket: Socket) => void): Promise<{ path: string }> {
    const file = path.join(this.directory, `service-${++this.#services}.sock`)
    const sockets = new Set<Socket>()
    const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.add(socket)
      socket.on('error', () => undefined)
      onConnection(socket)
    }).listen(file)
    await once(server, 'listening')
    this.#owned.push(async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
    })
    return { path: file }
  }

  /** A connection to a forwarded port, as the agent makes it. */
  async connect(port: number, signal: AbortSignal): Promise<Socket> {
    await this.server.waitForPort(this.captureAgentId, port, { signal })
    const socket = connect({ path: this.server.socketPath(this.captureAgentId, port), allowHalfOpen: true })
    await once(socket, 'connect', { signal })
    this.#owned.push(async () => void socket.destroy())
    return socket
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.#owned.toReversed()) await end()
    await this.stopServer()
    await rm(this.directory, { recursive: true, force: true })
  }
}

/** All that comes until the end; rejects where the socket breaks. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** Resolves when the connection is over, in whatever way. */
export async function over(socket: Socket): Promise<void> {
  socket.on('error', () => undefined)
  socket.on('end', () => socket.destroy())
  socket.resume()
  if (socket.readableEnded) socket.destroy()
  if (!socket.closed) await once(socket, 'close', { signal: AbortSignal.timeout(30_000) })
}
