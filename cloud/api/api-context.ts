import type { Logger } from '@sendense/shared/runtime/logger.ts'
import type { Database } from '../db/database.ts'
import type { PresenceBoard } from '../fleet/presence-board.ts'
import type { LogIn } from '../identity/log-in.ts'
import type { ActiveSession, SessionService } from '../identity/session-service.ts'
import type { LiveBus } from '../live/live-bus.ts'
import type { ProgressBoard } from '../live/progress-board.ts'

/** What procedures work with; made once per process. */
export interface ApiServices {
  readonly database: Database
  readonly sessions: SessionService
  readonly logIn: LogIn
  readonly live: LiveBus
  readonly progress: ProgressBoard
  readonly presence: PresenceBoard
  /** Says that commands wait for this agent. Returns at once and never throws. */
  readonly nudge: (agentId: string) => void
  readonly now: () => Date
  readonly logger: Logger
}

/** One request, or one WebSocket connection. */
export interface ApiContext {
  readonly services: ApiServices
  readonly session: ActiveSession | undefined
  /** A socket lives on after its session: what comes over it is checked again each time. */
  readonly channel: 'request' | 'socket'
  /** Of the peer, for limits and audit. */
  readonly address: string
  /** Adds a `Set-Cookie` header; does nothing where headers are gone already. */
  readonly setCookie: (value: string) => void
}
