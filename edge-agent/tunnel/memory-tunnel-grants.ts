import type { TunnelGrant, TunnelGrants } from './tunnel-grants.ts'

interface KnownKey {
  readonly grant: TunnelGrant
  isRevoked: boolean
}

/** Grants in memory, for tests. */
export class MemoryTunnelGrants implements TunnelGrants {
  readonly #keys = new Map<string, KnownKey>()
  readonly #tokens = new Map<string, { readonly grant: TunnelGrant; usedBy: string | undefined; isOld: boolean }>()

  add(fingerprint: string, grant: TunnelGrant): void {
    this.#keys.set(fingerprint, { grant, isRevoked: false })
  }

  addToken(secret: string, grant: TunnelGrant, { isOld = false } = {}): void {
    this.#tokens.set(secret, { grant, usedBy: undefined, isOld })
  }

  revoke(captureAgentId: string): void {
    for (const known of this.#keys.values()) {
      if (known.grant.captureAgentId === captureAgentId) known.isRevoked = true
    }
  }

  async find(fingerprint: string): Promise<TunnelGrant | undefined> {
    const known = this.#keys.get(fingerprint)
    return known?.isRevoked === false ? known.grant : undefined
  }

  async enrol({ secret, fingerprint }: { secret: string; fingerprint: string }): Promise<TunnelGrant | undefined> {
    const token = this.#tokens.get(secret)
    if (token === undefined) return undefined
    if (token.usedBy !== undefined) return token.usedBy === fingerprint ? await this.find(fingerprint) : undefined
    if (token.isOld || this.#keys.has(fingerprint)) return undefined
    token.usedBy = fingerprint
    this.add(fingerprint, token.grant)
    return token.grant
  }

  async listRevoked(captureAgentIds: readonly string[]): Promise<string[]> {
    const granted = new Set(
      [...this.#keys.values()].filter(({ isRevoked }) => !isRevoked).map(({ grant }) => grant.captureAgentId),
    )
    return captureAgentIds.filter((captureAgentId) => !granted.has(captureAgentId))
  }
}
