import { and, eq, isNull } from 'drizzle-orm'
import type { Database, TenantContext } from '../db/database.ts'
import { agent } from '../db/schema/fleet.ts'
import { job } from '../db/schema/protection.ts'

const KEEP_MS = 30_000
const ENTRIES_MAX = 20_000

/** An agent as its messages are judged by: its tenant comes from here, never from a message. */
export interface KnownAgent {
  readonly agentId: string
  readonly mspId: string
  readonly customerId: string
  /** Ed25519 public key, SPKI DER, base64. */
  readonly identityKey: string
}

/** Everything of one agent's customer. */
export function tenantOf(known: KnownAgent): TenantContext {
  return { mspId: known.mspId, customers: [known.customerId] }
}

/** Looks agents up and remembers them for half a minute; revoked and unknown ones are not found. */
export interface AgentDirectory {
  find(agentId: string): Promise<KnownAgent | undefined>
  /** True where the job runs on that agent. */
  hasJob(known: KnownAgent, jobId: string): Promise<boolean>
}

export function createAgentDirectory(database: Database, now: () => number): AgentDirectory {
  const agents = createCache<KnownAgent>(now)
  const jobs = createCache<true>(now)
  return {
    find: (agentId) =>
      agents.get(agentId, async () => {
        const [row] = await database.withSystem('look an agent up', (tx) =>
          tx
            .select()
            .from(agent)
            .where(and(eq(agent.id, agentId), isNull(agent.revokedAt))),
        )
        if (row === undefined) return undefined
        const { mspId, customerId, identityKey } = row
        return { agentId, mspId, customerId, identityKey }
      }),
    hasJob: async (known, jobId) => {
      const found = await jobs.get(`${known.agentId} ${jobId}`, async () => {
        const rows = await database.withSystem(
          'look a job up',
          (tx) =>
            tx
              .select({ id: job.id })
              .from(job)
              .where(and(eq(job.id, jobId), eq(job.agentId, known.agentId))),
          { within: tenantOf(known) },
        )
        return rows.length === 1 ? true : undefined
      })
      return found === true
    },
  }
}

function createCache<T>(now: () => number) {
  const entries = new Map<string, { value: T; until: number }>()
  return {
    /** Only what was found is remembered. */
    async get(key: string, load: () => Promise<T | undefined>): Promise<T | undefined> {
      const found = entries.get(key)
      if (found !== undefined && found.until > now()) return found.value
      const value = await load()
      if (value === undefined) return undefined
      entries.delete(key)
      entries.set(key, { value, until: now() + KEEP_MS })
      const oldest = entries.keys().next().value
      if (entries.size > ENTRIES_MAX && oldest !== undefined) entries.delete(oldest)
      return value
    },
  }
}
