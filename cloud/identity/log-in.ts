import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { asc, eq } from 'drizzle-orm'
import { appendAudit } from '../audit/audit-chain.ts'
import type { Database } from '../db/database.ts'
import { membership, userAccount } from '../db/schema/tenancy.ts'
import { type AttemptLimiter, createAttemptLimiter } from './attempt-limiter.ts'
import { isPassword } from './password.ts'
import type { ActiveSession, SessionService } from './session-service.ts'

const WINDOW_MS = 60_000
const ATTEMPTS_PER_ACCOUNT = 10
const ATTEMPTS_PER_ADDRESS = 60

export interface LogInRequest {
  readonly email: string
  readonly password: string
  readonly address: string
}

/**
 * Checks a password and makes a session.
 * Rejects with `identity.credentials_invalid`, the same and as late for unknown people, and with
 * `identity.rate_limited`.
 */
export type LogIn = (request: LogInRequest) => Promise<ActiveSession>

export function createLogIn(options: { database: Database; sessions: SessionService; now: () => Date }): LogIn {
  const limits = { windowMs: WINDOW_MS, now: () => options.now().getTime() }
  const byAccount = createAttemptLimiter({ ...limits, attemptsMax: ATTEMPTS_PER_ACCOUNT })
  const byAddress = createAttemptLimiter({ ...limits, attemptsMax: ATTEMPTS_PER_ADDRESS })
  return async (request) => {
    const email = request.email.toLowerCase()
    takeOrRefuse(byAddress, request.address)
    takeOrRefuse(byAccount, email)
    const account = await findAccount(options.database, email)
    const correct = await isPassword(account?.passwordHash, request.password)
    if (account === undefined || !correct || account.membershipId === null || account.mspId === null) {
      throw new PlatformError('identity.credentials_invalid', 'e-mail address or password is wrong')
    }
    const { userId, mspId, membershipId } = account
    const created = await options.sessions.create({ userId, mspId, membershipId })
    byAccount.reset(email)
    await options.database.withTenant(created.tenant, (tx) =>
      appendAudit(tx, {
        mspId,
        actor: email,
        action: 'session.logged-in',
        details: { address: request.address },
        at: options.now(),
      }),
    )
    return created
  }
}

function takeOrRefuse(limiter: AttemptLimiter, key: string): void {
  if (!limiter.tryTake(key)) throw new PlatformError('identity.rate_limited', 'too many attempts to log in')
}

async function findAccount(database: Database, email: string) {
  const [row] = await database.withSystem('log in', (tx) =>
    tx
      .select({
        userId: userAccount.id,
        passwordHash: userAccount.passwordHash,
        mspId: membership.mspId,
        membershipId: membership.id,
      })
      .from(userAccount)
      .leftJoin(membership, eq(membership.userId, userAccount.id))
      .where(eq(userAccount.email, email))
      .orderBy(asc(membership.createdAt))
      .limit(1),
  )
  return row
}
