import { createHash } from 'node:crypto'
import type { Clock } from '@sendense/shared/runtime/clock.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { CaptureAgentRecord } from '../catalog/capture-agent-store.ts'
import type { Catalogue } from '../catalog/catalogue.ts'
import { type EnrolmentToken, generateEnrolmentSecret } from '../tunnel/enrolment-token.ts'
import type { TunnelGrant, TunnelGrants } from '../tunnel/tunnel-grants.ts'

const TOKEN_LASTS_MS = 24 * 3_600_000
/** How long a used token still answers the key it was used for. */
const TOKEN_KEPT_MS = 24 * 3_600_000
/** Numbers few would take for those of a service; the first one is for the capture agent's own requests. */
const FIRST_PORT = 20_001

/** Which capture agents are let in: the tunnel's grants, kept in the catalogue. */
export class CaptureAccess implements TunnelGrants {
  readonly #catalogue: Catalogue
  readonly #clock: Clock
  readonly #newId: () => string

  constructor({ catalogue, clock, newId }: { catalogue: Catalogue; clock: Clock; newId: () => string }) {
    this.#catalogue = catalogue
    this.#clock = clock
    this.#newId = newId
  }

  async find(fingerprint: string, options: CallOptions): Promise<TunnelGrant | undefined> {
    const agent = await this.#catalogue.transaction(
      async (tx) => await tx.captureAgents.findByKey(fingerprint),
      options,
    )
    return agent === undefined ? undefined : toGrant(agent)
  }

  async enrol(
    { secret, fingerprint, publicKey }: { secret: string; fingerprint: string; publicKey: string },
    options: CallOptions,
  ): Promise<TunnelGrant | undefined> {
    const secretHash = hashOf(secret)
    const now = this.#clock.now()
    return await this.#catalogue.transaction(async (tx) => {
      const token = await tx.captureAgents.findToken(secretHash)
      if (token === undefined) return undefined
      const known = await tx.captureAgents.findByKey(fingerprint)
      if (token.usedBy !== undefined || known !== undefined) {
        return token.usedBy === fingerprint && known !== undefined ? toGrant(known) : undefined
      }
      if (token.expiresAt <= now) return undefined
      const { captureAgentId, name, ports } = token
      await tx.captureAgents.setTokenUsed(secretHash, fingerprint)
      await tx.captureAgents.insert({
        captureAgentId,
        name,
        ports,
        keyFingerprint: fingerprint,
        publicKey,
        enrolledAt: now,
      })
      return { captureAgentId, name, ports }
    }, options)
  }

  async listRevoked(captureAgentIds: readonly string[], options: CallOptions): Promise<string[]> {
    const granted = new Set((await this.listGrants(options)).map(({ captureAgentId }) => captureAgentId))
    return captureAgentIds.filter((captureAgentId) => !granted.has(captureAgentId))
  }

  /** Of all capture agents that are let in, connected or not. Ordered by name. */
  async listGrants(options: CallOptions): Promise<TunnelGrant[]> {
    return (await this.list(options)).flatMap((agent) => toGrant(agent) ?? [])
  }

  /** Revoked ones too. Ordered by name. */
  async list(options: CallOptions): Promise<CaptureAgentRecord[]> {
    return await this.#catalogue.transaction(async (tx) => await tx.captureAgents.list(), options)
  }

  /**
   * Makes a token for one key, good for 24 hours. Its ports are `portCount` numbers, ascending.
   * @param address where the tunnel's server is reached, and the fingerprint of its host key
   */
  async createToken(
    { name, portCount, ...address }: Pick<EnrolmentToken, 'host' | 'port' | 'hostKey' | 'name'> & { portCount: number },
    options: CallOptions,
  ): Promise<{ token: EnrolmentToken; expiresAt: Date }> {
    const ports = Array.from({ length: portCount }, (_, index) => FIRST_PORT + index)
    const token = { ...address, captureAgentId: this.#newId(), name, ports, secret: generateEnrolmentSecret() }
    const now = this.#clock.now().getTime()
    const expiresAt = new Date(now + TOKEN_LASTS_MS)
    const { captureAgentId, secret } = token
    await this.#catalogue.transaction(async (tx) => {
      await tx.captureAgents.trimTokens(new Date(now - TOKEN_KEPT_MS))
      await tx.captureAgents.insertToken({ secretHash: hashOf(secret), captureAgentId, name, ports, expiresAt })
    }, options)
    return { token, expiresAt }
  }

  /** Takes the grant away; a running agent ends its tunnels soon. Returns false where there is no such capture agent. */
  async revoke(captureAgentId: string, options: CallOptions): Promise<boolean> {
    const now = this.#clock.now()
    return await this.#catalogue.transaction(async (tx) => await tx.captureAgents.revoke(captureAgentId, now), options)
  }
}

function toGrant({ captureAgentId, name, ports, revokedAt }: CaptureAgentRecord): TunnelGrant | undefined {
  return revokedAt === undefined ? { captureAgentId, name, ports } : undefined
}

/** The secret has 256 bits: a plain hash hides it. */
function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}
