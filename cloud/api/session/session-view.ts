import type { SessionView } from '@sendense/shared/contracts/api/session-api.ts'
import type { ActiveSession } from '../../identity/session-service.ts'

export function toSessionView(session: ActiveSession): SessionView {
  return {
    userId: session.userId,
    email: session.email,
    displayName: session.displayName,
    msp: { id: session.mspId, name: session.mspName },
    role: session.role,
    permissions: [...session.permissions],
    expiresAt: session.expiresAt.toISOString(),
  }
}
