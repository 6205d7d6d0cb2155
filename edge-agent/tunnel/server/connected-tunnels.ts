import type { Socket } from 'node:net'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { TunnelGrant, TunnelGrants } from '../tunnel-grants.ts'
import { CAPTURE_USER, enrolmentSecretOf } from '../tunnel-users.ts'
import type { LoginGate } from './login-gate.ts'
import type { PortSockets } from './port-sockets.ts'
import type { SessionReport } from './session-messages.ts'
import type { SessionProcesses } from './session-processes.ts'
import type { LoginRequest } from './tunnel-session.ts'

/** Something a peer wanted and did not get. */
export interface Refusal {
  /**
   * login: it could not show that it is known; request: it asked for more than it may; flood: it came too often; fault: the
   * process that ran its connection had to be ended, maybe because of what it sent.
   */
  readonly kind: 'login' | 'request' | 'flood' | 'fault'
  /** Fit for a log: short, visible ASCII. */
  readonly what: string
  readonly address: string
  readonly at: Date
  /** Whose key it was, where that is known. */
  readonly captureAgentId?: string
  readonly name?: string
}

/** A capture agent that is connected now. */
export interface ConnectedCaptureAgent {
  readonly captureAgentId: string
  readonly name: string
  /** SSH connections that stand; at least 1. */
  readonly tunnels: number
  /** Granted ports that lead somewhere now, ascending. */
  readonly ports: readonly number[]
  /** Channels that are open over all its tunnels. */
  readonly channels: number
}

interface Tunnel {
  readonly sessionId: number
  readonly address: string
  /** Absent until it has logged in. */
  grant: TunnelGrant | undefined
  readonly ports: Set<number>
  /** Being opened for it: they are not closed for another's end meanwhile. */
  readonly opening: Set<number>
  channels: number
  onEnded: () => void
}

export interface ConnectedTunnelsOptions {
  readonly grants: TunnelGrants
  readonly gate: LoginGate
  readonly processes: Pick<SessionProcesses, 'accept' | 'tell'>
  readonly sockets: Pick<PortSockets, 'listen' | 'close'>
  readonly clock: Clock
  readonly logger: Logger
  readonly onRefused: (refusal: Refusal) => void
  /** Which capture agents or ports are connected has changed. */
  readonly onChange: () => void
  /** Aborts what is asked of the grants. */
  readonly signal: AbortSignal
}

/** Who is connected, by which connections, and which of their ports lead where. */
export class ConnectedTunnels {
  readonly #options: ConnectedTunnelsOptions
  readonly #tunnels = new Map<number, Tunnel>()
  #lastSessionId = 0

  constructor(options: ConnectedTunnelsOptions) {
    this.#options = options
  }

  /** A connection to the server's port, not read from yet. */
  accept(socket: Socket): void {
    const { gate, processes, clock } = this.#options
    const address = socket.remoteAddress ?? 'unknown'
    const sessionId = ++this.#lastSessionId
    const admission = gate.admit(sessionId, address, clock.now().getTime())
    if (!admission.isAdmitted) {
      socket.destroy()
      if (admission.told !== undefined) this.#refuse('flood', `${admission.told} connections too many`, { address })
      return
    }
    if (admission.evicted !== undefined) {
      processes.tell({ type: 'close', sessionId: admission.evicted, why: 'others wait to log in' })
    }
    this.#tunnels.set(sessionId, {
      sessionId,
      address,
      grant: undefined,
      ports: new Set(),
      opening: new Set(),
      channels: 0,
      onEnded: () => undefined,
    })
    processes.accept(sessionId, socket)
  }

  /** A connection to a forwarded port: over the tunnel of that capture agent with the fewest channels. */
  connect(captureAgentId: string, port: number, socket: Socket): void {
    const tunnel = this.#leastLoaded(captureAgentId, port)
    if (tunnel === undefined) {
      socket.destroy()
      return
    }
    // Until the process tells of it; connections that come at the same time are spread too.
    tunnel.channels += 1
    this.#options.processes.tell({ type: 'open', sessionId: tunnel.sessionId, port }, socket)
  }

  leadsSomewhere(captureAgentId: string, port: number): boolean {
    return this.#leastLoaded(captureAgentId, port) !== undefined
  }

  list(): ConnectedCaptureAgent[] {
    const agents = Map.groupBy(
      [...this.#tunnels.values()].filter(({ grant }) => grant !== undefined),
      ({ grant }) => grant?.captureAgentId ?? '',
    )
    return [...agents]
      .map(([captureAgentId, tunnels]) => ({
        captureAgentId,
        name: tunnels[0]?.grant?.name ?? '',
        tunnels: tunnels.length,
        ports: [...new Set(tunnels.flatMap(({ ports }) => [...ports]))].toSorted((a, b) => a - b),
        channels: tunnels.reduce((sum, { channels }) => sum + channels, 0),
      }))
      .toSorted((a, b) => a.name.localeCompare(b.name))
  }

  async disconnect(captureAgentId: string): Promise<void> {
    const tunnels = [...this.#tunnels.values()].filter(({ grant }) => grant?.captureAgentId === captureAgentId)
    await Promise.all(
      tunnels.map(async (tunnel) => {
        const { promise, resolve } = Promise.withResolvers<void>()
        tunnel.onEnded = resolve
        this.#options.processes.tell({ type: 'close', sessionId: tunnel.sessionId, why: 'ended by the agent' })
        await promise
      }),
    )
  }

  /** Ends tunnels whose grant is gone. A database that does not answer ends nothing. */
  async endRevoked(): Promise<void> {
    const { grants, signal, logger } = this.#options
    const connected = new Set([...this.#tunnels.values()].flatMap(({ grant }) => grant?.captureAgentId ?? []))
    if (connected.size === 0) return
    const revoked = await grants.listRevoked([...connected], { signal })
    for (const captureAgentId of revoked) {
      logger.warn({ captureAgentId }, 'the key of a capture agent was revoked: its tunnels end')
      await this.disconnect(captureAgentId)
    }
  }

  onReport(report: SessionReport): void {
    const tunnel = this.#tunnels.get(report.sessionId)
    if (tunnel === undefined) return
    switch (report.type) {
      case 'login':
        void this.#onLogin(tunnel, report)
        break
      case 'forward':
        void this.#onForward(tunnel, report.port, report.wanted)
        break
      case 'refused':
        this.#refuse(tunnel.grant === undefined ? 'login' : 'request', report.what, tunnel)
        break
      case 'channels':
        tunnel.channels = report.channels
        break
      case 'ended':
        void this.#onEnded(tunnel, report.error)
        break
      default:
        report satisfies never
    }
  }

  async #onLogin(tunnel: Tunnel, request: LoginRequest): Promise<void> {
    const { gate, processes, logger, onChange } = this.#options
    const grant = await this.#findGrant(request)
    const { sessionId } = tunnel
    if (grant === undefined || !this.#tunnels.has(sessionId)) {
      processes.tell({ type: 'login-answer', sessionId })
      return
    }
    tunnel.grant = grant
    gate.settle(sessionId)
    const { captureAgentId, name } = grant
    logger.info({ captureAgentId, name, address: tunnel.address }, 'a capture agent is connected')
    processes.tell({ type: 'login-answer', sessionId, ports: [...grant.ports] })
    onChange()
  }

  async #findGrant({ userName, fingerprint, publicKey }: LoginRequest): Promise<TunnelGrant | undefined> {
    const { grants, signal, logger } = this.#options
    try {
      if (userName === CAPTURE_USER) return await grants.find(fingerprint, { signal })
      const secret = enrolmentSecretOf(userName)
      if (secret === undefined) return undefined
      return await grants.enrol({ secret, fingerprint, publicKey }, { signal })
    } catch (error) {
      if (!signal.aborted) logger.error({ err: error }, 'who may log in to the tunnel could not be found out')
      return undefined
    }
  }

  async #onForward(tunnel: Tunnel, port: number, wanted: boolean): Promise<void> {
    const { processes, logger, onChange } = this.#options
    const { sessionId, grant } = tunnel
    let isDone = grant?.ports.includes(port) === true
    try {
      if (wanted && grant !== undefined && isDone) {
        await this.#openPort(tunnel, grant.captureAgentId, port)
      } else if (grant !== undefined) {
        tunnel.ports.delete(port)
        await this.#closeUnused(grant.captureAgentId, port)
      }
    } catch (error) {
      logger.error({ err: error, port, captureAgentId: grant?.captureAgentId }, 'a forwarded port cannot be opened')
      isDone = false
    }
    processes.tell({ type: 'forward-answer', sessionId, port, isDone })
    onChange()
  }

  async #openPort(tunnel: Tunnel, captureAgentId: string, port: number): Promise<void> {
    tunnel.opening.add(port)
    try {
      await this.#options.sockets.listen(captureAgentId, port)
      if (this.#tunnels.has(tunnel.sessionId)) tunnel.ports.add(port)
    } finally {
      tunnel.opening.delete(port)
    }
    if (!tunnel.ports.has(port)) await this.#closeUnused(captureAgentId, port)
  }

  async #onEnded(tunnel: Tunnel, error: { code: string; message: string } | undefined): Promise<void> {
    const { gate, logger, onChange } = this.#options
    const { sessionId, grant, address } = tunnel
    this.#tunnels.delete(sessionId)
    gate.settle(sessionId)
    tunnel.onEnded()
    if (error?.code === 'tunnel.process_failed') this.#refuse('fault', error.message, tunnel)
    const level = grant === undefined ? 'debug' : 'info'
    logger[level]({ captureAgentId: grant?.captureAgentId, address, error }, 'a tunnel has ended')
    if (grant === undefined) return
    for (const port of tunnel.ports) await this.#closeUnused(grant.captureAgentId, port)
    onChange()
  }

  async #closeUnused(captureAgentId: string, port: number): Promise<void> {
    const isOpening = [...this.#tunnels.values()].some(({ grant, opening }) => {
      return grant?.captureAgentId === captureAgentId && opening.has(port)
    })
    if (isOpening || this.leadsSomewhere(captureAgentId, port)) return
    await this.#options.sockets.close(captureAgentId, port)
  }

  #leastLoaded(captureAgentId: string, port: number): Tunnel | undefined {
    let least: Tunnel | undefined
    for (const tunnel of this.#tunnels.values()) {
      if (tunnel.grant?.captureAgentId !== captureAgentId || !tunnel.ports.has(port)) continue
      if (least === undefined || tunnel.channels < least.channels) least = tunnel
    }
    return least
  }

  #refuse(
    kind: Refusal['kind'],
    what: string,
    from: { readonly address: string; readonly grant?: Tunnel['grant'] },
  ): void {
    const { onRefused, clock } = this.#options
    const { address, grant } = from
    const whose = grant === undefined ? {} : { captureAgentId: grant.captureAgentId, name: grant.name }
    onRefused({ kind, what, address, at: clock.now(), ...whose })
  }
}
