/** A service on the capture side, as the capture side sees it. */
export type LocalTarget = { readonly path: string } | { readonly host: string; readonly port: number }

export interface TunnelClientState {
  /** `connected`: at least one tunnel stands, and the ports can be used. */
  readonly state: 'connected' | 'waiting'
  /** SSH connections that stand, of those that are wanted. */
  readonly tunnels: number
  readonly tunnelsWanted: number
  /** Why the last connection was not made, or ended. Kept after it came back. */
  readonly lastError: { readonly code: string; readonly message: string; readonly at: string } | undefined
}

/**
 * The capture side's end: dials the edge agent over SSH, keeps `tunnels` connections up, each on a thread of its own,
 * and asks for remote forwarding of its granted ports. Connects again with full jitter, 1 s to 60 s, for ever: what can
 * only be mended by a person (another host key, a revoked key) is shown as `lastError` and tried again all the same,
 * so nobody has to come by when it was mended. A host key other than the pinned one is never accepted.
 */
export interface TunnelClient extends AsyncDisposable {
  readonly state: TunnelClientState
  /** `listener` is called after each change of `state`. Returns how to stop it. */
  onStateChange(listener: () => void): () => void
  /** Resolves as soon as `state` is `connected`; rejects with the signal's reason. */
  waitUntilConnected(options: { readonly signal: AbortSignal }): Promise<void>
  /**
   * What connections to a granted port lead to from now on; undefined: nothing, they are refused. Connections that
   * stand are left alone. Resolves when every tunnel knows it, so whoever is told of the port after that can use it.
   * Rejects with `tunnel.port_not_granted` where the port is not among the client's ports.
   */
  setTarget(port: number, target: LocalTarget | undefined): Promise<void>
}
