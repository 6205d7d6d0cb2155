import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import { type ConnectedCaptureAgent, ConnectedTunnels, type Refusal } from './server/connected-tunnels.ts'
import { openHostKey } from './server/host-key.ts'
import { type GateLimits, LoginGate, usualGateLimits } from './server/login-gate.ts'
import { PortSockets } from './server/port-sockets.ts'
import { SessionProcesses } from './server/session-processes.ts'
import { type SessionLimits, usualSessionLimits } from './server/tunnel-session.ts'
import { type TransportTimes, usualTimes } from './ssh/ssh-transport.ts'
import type { TunnelGrants } from './tunnel-grants.ts'

export type { ConnectedCaptureAgent, Refusal } from './server/connected-tunnels.ts'

const PROCESSES_MAX = 4
/** A revoked key's tunnels stand at most so long. */
const REVOCATION_EVERY_MS = 2000
const BACKLOG = 256

export interface TunnelServerOptions {
  /** 0: a free one. */
  readonly port: number
  /** All addresses unless given. */
  readonly host?: string
  /** Where the host key is kept. */
  readonly stateDir: string
  /** The sockets of ports are made in `tunnel/` below it. A short path. */
  readonly runtimeDir: string
  readonly grants: TunnelGrants
  readonly clock: Clock
  readonly logger: Logger
  /** Called for each refusal; how often that can be is bounded by the limits. */
  readonly onRefused: (refusal: Refusal) => void
  readonly gateLimits?: GateLimits
  readonly sessionLimits?: SessionLimits
  readonly times?: TransportTimes
  readonly processesMax?: number
  /** What the processes of connections run; a test's own. */
  readonly program?: URL
}

/**
 * The agent's end of the tunnels: an SSH server that capture agents dial. It authenticates Ed25519 keys that
 * TunnelGrants knows and allows them one thing: remote forwarding of the ports granted to the key. Everything else SSH
 * can do is refused and told to `onRefused`.
 *
 * A forwarded port is no TCP port of this machine but a unix socket only the agent's user can open, because what is
 * behind it (QMP, NBD) knows no passwords. SSH itself runs in processes of its own; this one only hands on sockets.
 */
export class TunnelServer implements AsyncDisposable {
  /** `SHA256:…` of its Ed25519 host key, which capture agents pin. */
  readonly hostKeyFingerprint: string
  readonly #server: Server
  readonly #sockets: PortSockets
  readonly #processes: SessionProcesses
  readonly #tunnels: ConnectedTunnels
  readonly #listeners = new Set<() => void>()
  readonly #over = new AbortController()
  readonly #revocations: NodeJS.Timeout

  private constructor(
    options: TunnelServerOptions,
    hostKey: { readonly pem: string; readonly fingerprint: string },
    openSockets: (connect: ConnectedTunnels['connect']) => PortSockets,
  ) {
    const { grants, clock, logger, onRefused } = options
    this.hostKeyFingerprint = hostKey.fingerprint
    this.#sockets = openSockets((captureAgentId, port, socket) => this.#tunnels.connect(captureAgentId, port, socket))
    this.#processes = new SessionProcesses({
      start: {
        type: 'start',
        hostKey: hostKey.pem,
        limits: options.sessionLimits ?? usualSessionLimits,
        times: options.times ?? usualTimes,
      },
      processesMax: options.processesMax ?? Math.min(PROCESSES_MAX, availableParallelism()),
      logger,
      ...(options.program === undefined ? {} : { program: options.program }),
      onReport: (report) => this.#tunnels.onReport(report),
    })
    this.#tunnels = new ConnectedTunnels({
      grants,
      gate: new LoginGate(options.gateLimits ?? usualGateLimits),
      processes: this.#processes,
      sockets: this.#sockets,
      clock,
      logger,
      onRefused,
      onChange: () => {
        for (const listener of this.#listeners) listener()
      },
      signal: this.#over.signal,
    })
    this.#server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
      // Nobody else listens to it until it is handed on.
      socket.on('error', () => undefined)
      this.#tunnels.accept(socket)
    })
    let isChecking = false
    this.#revocations = setInterval(() => {
      if (isChecking) return
      isChecking = true
      this.#tunnels
        .endRevoked()
        .catch((error: unknown) => {
          if (!this.#over.signal.aborted) logger.warn({ err: error }, 'revoked keys could not be looked for')
        })
        .finally(() => (isChecking = false))
    }, REVOCATION_EVERY_MS)
    this.#revocations.unref()
  }

  /**
   * Listens when it resolves.
   * Rejects with `config.invalid` where the port cannot be listened on, the host key is no key, or the runtime
   * directory's path is too long for unix sockets.
   */
  static async open(options: TunnelServerOptions): Promise<TunnelServer> {
    const hostKey = await openHostKey(options.stateDir)
    const openSockets = await PortSockets.prepare(path.join(options.runtimeDir, 'tunnel'))
    const tunnelServer = new TunnelServer(options, hostKey, openSockets)
    try {
      tunnelServer.#server.listen({ port: options.port, host: options.host, backlog: BACKLOG })
      await once(tunnelServer.#server, 'listening')
    } catch (cause) {
      await tunnelServer[Symbol.asyncDispose]()
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new PlatformError('config.invalid', `the tunnel's port ${options.port} cannot be used: ${why}`, { cause })
    }
    options.logger.info({ port: tunnelServer.port, hostKey: hostKey.fingerprint }, 'capture agents can connect')
    return tunnelServer
  }

  /** The TCP port it listens on. */
  get port(): number {
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  /**
   * Where a port of a capture agent can be connected to, whether or not it is connected now. A connection is a plain
   * byte stream to the target behind the port; closing one half passes, backpressure too, on both ways.
   *
   * While the capture agent has no tunnel up, connecting fails (ENOENT or ECONNREFUSED). Where it is up but has no
   * target at the port, or the target cannot be reached there, the connection ends at once without a byte. When its
   * tunnel breaks, the connection is reset (ECONNRESET), or ends where nothing was under way: what runs inside must
   * know its own end.
   */
  socketPath(captureAgentId: string, port: number): string {
    return this.#sockets.pathOf(captureAgentId, port)
  }

  /** Ordered by name. */
  connected(): ConnectedCaptureAgent[] {
    return this.#tunnels.list()
  }

  /** `listener` is called after each change of which capture agents and ports are connected. Returns how to stop it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Resolves when the port can be connected to; rejects with the signal's reason. */
  async waitForPort(captureAgentId: string, port: number, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted()
    if (this.#tunnels.leadsSomewhere(captureAgentId, port)) return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const onAbort = (): void => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    const stop = this.onChange(() => {
      if (this.#tunnels.leadsSomewhere(captureAgentId, port)) resolve()
    })
    try {
      await promise
    } finally {
      stop()
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** Ends all tunnels of a capture agent; resolves when they are gone. Whether it may come back, its grant says. */
  async disconnect(captureAgentId: string): Promise<void> {
    await this.#tunnels.disconnect(captureAgentId)
  }

  /** Ends all tunnels; no process and no socket stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort(new PlatformError('internal.cancelled', 'the tunnel server was closed'))
    clearInterval(this.#revocations)
    // Not awaited: it waits for connections that were handed on, and those end with their processes.
    this.#server.close()
    await this.#processes[Symbol.asyncDispose]()
    await this.#sockets.closeAll()
  }
}
