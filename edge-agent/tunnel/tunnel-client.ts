import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { DialOrder, DialReport, LocalTarget } from './client/dial-messages.ts'
import { DialProcess } from './client/dial-process-handle.ts'
import { readEd25519Key } from './ssh/ed25519-key.ts'
import { type TransportTimes, usualTimes } from './ssh/ssh-transport.ts'

export type { LocalTarget } from './client/dial-messages.ts'

const TUNNELS_MAX = 16
const RETRY = { baseMs: 1000, capMs: 60_000 }

export interface TunnelClientOptions {
  /** Of the edge agent. */
  readonly address: { readonly host: string; readonly port: number }
  /** The pinned one: `SHA256:…`. */
  readonly hostKeyFingerprint: string
  /** The capture agent's private key, as `generateEd25519Key` makes it. */
  readonly key: string
  /** Granted ports. */
  readonly ports: readonly number[]
  /** Connections kept up, 1 to 16: more than one where one processor core is the limit. */
  readonly tunnels?: number
  readonly clock: Clock
  readonly logger: Logger
  readonly times?: TransportTimes
  readonly retry?: { readonly baseMs: number; readonly capMs: number }
  /** What the process of a tunnel runs; a test's own. */
  readonly program?: URL
}

export interface TunnelClientState {
  /** `connected`: at least one tunnel stands, and the ports can be used. */
  readonly state: 'connected' | 'waiting'
  /** SSH connections that stand, of those that are wanted. */
  readonly tunnels: number
  readonly tunnelsWanted: number
  /** Why the last connection was not made, or ended, or not all ports were granted. Kept after it came back. */
  readonly lastError: { readonly code: string; readonly message: string; readonly at: string } | undefined
}

/**
 * The capture side's end: dials the edge agent over SSH, keeps `tunnels` connections up, each in a process of its own,
 * and asks for remote forwarding of its granted ports. Connects again with full jitter, up to 1 s at first and 60 s at
 * last, for ever: what can only be mended by a person (another host key, a revoked key) is shown as `lastError` and
 * tried again all the same, so nobody has to come by when it was mended. A host key other than the pinned one is never
 * accepted.
 */
export class TunnelClient implements AsyncDisposable {
  readonly #options: TunnelClientOptions
  readonly #processes: DialProcess[]
  readonly #targets = new Map<number, LocalTarget>()
  readonly #listeners = new Set<() => void>()
  #lastError: TunnelClientState['lastError']

  /**
   * Begins to dial.
   * @throws PlatformError `config.invalid` where the key is no key, `input.invalid` for a number of tunnels beyond 16
   */
  constructor(options: TunnelClientOptions) {
    const { tunnels = 1, key } = options
    readEd25519Key(key, 'the key of the capture agent')
    if (!Number.isInteger(tunnels) || tunnels < 1 || tunnels > TUNNELS_MAX) {
      throw new PlatformError('input.invalid', `tunnels: a number from 1 to ${TUNNELS_MAX}`)
    }
    this.#options = options
    this.#processes = Array.from({ length: tunnels }, () => this.#startProcess())
  }

  get state(): TunnelClientState {
    const tunnels = this.#processes.filter(({ isConnected }) => isConnected).length
    return {
      state: tunnels > 0 ? 'connected' : 'waiting',
      tunnels,
      tunnelsWanted: this.#processes.length,
      lastError: this.#lastError,
    }
  }

  /** `listener` is called after each change of `state`. Returns how to stop it. */
  onStateChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Resolves as soon as `state` is `connected`; rejects with the signal's reason. */
  async waitUntilConnected({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted()
    if (this.state.state === 'connected') return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const onAbort = (): void => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    const stop = this.onStateChange(() => {
      if (this.state.state === 'connected') resolve()
    })
    try {
      await promise
    } finally {
      stop()
      signal.removeEventListener('abort', onAbort)
    }
  }

  /**
   * What connections to a granted port lead to from now on; undefined: nothing, they are refused. Connections that
   * stand are left alone. Resolves when every tunnel knows it, so whoever is told of the port after that can use it.
   * Rejects with `tunnel.port_not_granted` where the port is not among the client's ports.
   */
  async setTarget(port: number, target: LocalTarget | undefined): Promise<void> {
    if (!this.#options.ports.includes(port)) {
      throw new PlatformError(
        'tunnel.port_not_granted',
        `port ${port} is not among those granted to this capture agent`,
      )
    }
    if (target === undefined) this.#targets.delete(port)
    else this.#targets.set(port, target)
    await Promise.all(this.#processes.map(async (dialling) => await dialling.setTarget(port, target)))
  }

  /** Ends all tunnels; no process stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#processes.map(async (dialling) => await dialling[Symbol.asyncDispose]()))
  }

  #startProcess(): DialProcess {
    return new DialProcess({
      start: () => this.#startOrder(),
      clock: this.#options.clock,
      logger: this.#options.logger,
      onState: (report) => this.#onState(report),
      program: this.#options.program,
    })
  }

  #startOrder(): Extract<DialOrder, { type: 'start' }> {
    const { address, hostKeyFingerprint, key, ports, times = usualTimes, retry = RETRY } = this.#options
    const targets = [...this.#targets].map(([port, target]) => ({ port, target }))
    const { host, port } = address
    return { type: 'start', host, port, hostKeyFingerprint, key, ports: [...ports], targets, times, retry }
  }

  #onState({ isConnected, error }: Extract<DialReport, { type: 'state' }>): void {
    const { clock, logger } = this.#options
    if (error !== undefined) this.#lastError = { ...error, at: clock.now().toISOString() }
    logger.info({ isConnected, error, tunnels: this.state.tunnels }, isConnected ? 'a tunnel stands' : 'no tunnel')
    for (const listener of this.#listeners) listener()
  }
}
