import type { CallOptions } from '../block/block-source.ts'

/** What one capture agent may do: ask for these ports, with this key. Nothing else is ever granted. */
export interface TunnelGrant {
  readonly captureAgentId: string
  /** The name of its host, for people. */
  readonly name: string
  /** Ports it may ask to be forwarded, ascending; 1 to 65535, each once. They are names, not TCP ports of the agent. */
  readonly ports: readonly number[]
}

/** Which keys the tunnel's server lets in. This contract is executable: tunnel-grants.conformance.ts. */
export interface TunnelGrants {
  /**
   * The grant of a key, or undefined where the key is not known or was revoked.
   * @param fingerprint `SHA256:` and 43 characters of base64, as `ssh-keygen -l` prints it
   */
  find(fingerprint: string, options: CallOptions): Promise<TunnelGrant | undefined>
  /**
   * Takes a one-use secret for a key: stores the key and returns its grant, or undefined where the secret is not known,
   * was used by another key or is too old. The same key may do it again: whoever lost the answer gets it.
   */
  enrol(
    request: { readonly secret: string; readonly fingerprint: string; readonly publicKey: string },
    options: CallOptions,
  ): Promise<TunnelGrant | undefined>
  /** Those of `captureAgentIds` that are not granted any more. */
  listRevoked(captureAgentIds: readonly string[], options: CallOptions): Promise<string[]>
}
