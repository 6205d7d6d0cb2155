import type { PresenceHint } from '@sendense/shared/contracts/agent-message.ts'
import type { presences } from '@sendense/shared/contracts/api/fleet-api.ts'

export type Presence = (typeof presences)[number]

const FRESH_MS = 2 * 60_000
const STALE_MS = 15 * 60_000
/** Agents sync every minute: one whose session stands but who said nothing signed for so long is not well. */
const SILENT_MS = 3 * 60_000
const AGENTS_MAX = 100_000

/** What the broker says about agents, in this process's memory. */
export interface PresenceBoard {
  setHint(agentId: string, hint: PresenceHint): void
  /** True where the newest hint says that the agent's session stands. */
  isConnected(agentId: string): boolean
  /** Hints say nothing while the cloud itself is cut off from the broker. */
  setBrokerConnected(connected: boolean): void
  presenceOf(agentId: string, lastSeenAt: Date | null): Presence
}

export function createPresenceBoard(now: () => Date): PresenceBoard {
  const hints = new Map<string, PresenceHint['state']>()
  let brokerConnected = false
  return {
    setHint(agentId, hint) {
      if (hints.size < AGENTS_MAX || hints.has(agentId)) hints.set(agentId, hint.state)
    },
    isConnected: (agentId) => brokerConnected && hints.get(agentId) === 'online',
    setBrokerConnected(connected) {
      brokerConnected = connected
      // Retained hints come again with the next subscription.
      if (!connected) hints.clear()
    },
    presenceOf(agentId, lastSeenAt) {
      const hint = brokerConnected ? hints.get(agentId) : undefined
      if (hint === 'offline') return 'offline'
      if (lastSeenAt === null) return 'unknown'
      const silentMs = now().getTime() - lastSeenAt.getTime()
      if (hint === 'online') return silentMs < SILENT_MS ? 'online' : 'stale'
      if (silentMs < FRESH_MS) return 'online'
      return silentMs < STALE_MS ? 'stale' : 'offline'
    },
  }
}
