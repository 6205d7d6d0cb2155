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

/**
 * The agent's end of the tunnels: an SSH server that capture agents dial. It authenticates Ed25519 keys that
 * TunnelGrants knows and allows them one thing: remote forwarding of the ports granted to the key. Everything else SSH
 * can do is refused and told to `onRefused`.
 *
 * A forwarded port is no TCP port of this machine but a unix socket only the agent's user can open, because what is
 * behind it (QMP, NBD) knows no passwords.
 */
export interface TunnelServer extends AsyncDisposable {
  /** The TCP port it listens on. */
  readonly port: number
  /** `SHA256:…` of its Ed25519 host key, which capture agents pin. */
  readonly hostKeyFingerprint: string
  /**
   * Where a port of a capture agent can be connected to, whether or not it is connected now. A connection is a plain
   * byte stream to the target behind the port; closing one half passes, backpressure too, on both ways.
   *
   * While the capture agent has no tunnel up, connecting fails (ENOENT or ECONNREFUSED). Where it is up but has no
   * target at the port, or the target cannot be reached there, the connection ends at once without a byte. When its
   * tunnel breaks, the connection is reset (ECONNRESET), or ends where nothing was under way.
   */
  socketPath(captureAgentId: string, port: number): string
  /** Ordered by name. */
  connected(): ConnectedCaptureAgent[]
  /** `listener` is called after each change of which capture agents and ports are connected. Returns how to stop it. */
  onChange(listener: () => void): () => void
  /** Resolves when the port can be connected to; rejects with the signal's reason. */
  waitForPort(captureAgentId: string, port: number, options: { readonly signal: AbortSignal }): Promise<void>
  /** Ends all tunnels of a capture agent at once; resolves when they are gone. Whether it may come back, its grant says. */
  disconnect(captureAgentId: string): Promise<void>
}
