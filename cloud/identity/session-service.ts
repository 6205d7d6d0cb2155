import { createHash } from 'node:crypto'
import { and, eq, gt, lt, sql } from 'drizzle-orm'
import { type Adapter, Lucia, TimeSpan } from 'lucia'
import type { Database, TenantContext } from '../db/database.ts'
import { membership, msp, session, userAccount } from '../db/schema/tenancy.ts'
import { type Permission, permissionsOf, type Role } from './permissions.ts'

const IDLE_HOURS = 12
const LIFETIME_MS = 7 * 24 * 3_600_000

/** Who is logged in, for whom they act, and what they may. */
export interface ActiveSession {
  readonly sessionId: string
  readonly expiresAt: Date
  readonly userId: string
  readonly email: string
  readonly displayName: string
  readonly mspId: string
  readonly mspName: string
  readonly role: Role
  readonly permissions: ReadonlySet<Permission>
  readonly tenant: TenantContext
  /** The session was made or prolonged just now: its cookie has to be given again. */
  readonly prolonged: boolean
}

/**
 * Sessions end 12 hours after their last use and 7 days after log-in. The database holds hashes of their
 * ids only. The library that keeps them is seen in this file alone.
 */
export interface SessionService {
  /** The id is returned once; it is the secret. */
  create(member: { userId: string; mspId: string; membershipId: string }): Promise<ActiveSession>
  find(sessionId: string): Promise<ActiveSession | undefined>
  end(sessionId: string): Promise<void>
  deleteExpired(): Promise<void>
  /** Value of `Set-Cookie` that hands the session to a browser; without an id it takes it away. */
  cookie(sessionId?: string): string
  /** The session id in a request's headers: bearer token before cookie. */
  read(headers: {
    authorization?: string | undefined
    cookie?: string | undefined
  }): { sessionId: string; from: 'bearer' | 'cookie' } | undefined
}

declare module 'lucia' {
  interface Register {
    DatabaseSessionAttributes: { mspId: string; membershipId: string }
  }
}

/** @param options.secureCookie false only where people come by http on a loopback host */
export function createSessionService(database: Database, options: { secureCookie: boolean }): SessionService {
  const lucia = new Lucia(createHashingAdapter(database), {
    sessionExpiresIn: new TimeSpan(IDLE_HOURS, 'h'),
    sessionCookie: {
      name: options.secureCookie ? '__Host-sendense_session' : 'sendense_session',
      attributes: { secure: options.secureCookie, sameSite: 'strict', path: '/' },
    },
  })
  const find = async (sessionId: string): Promise<ActiveSession | undefined> => {
    const valid = await lucia.validateSession(sessionId)
    if (valid.session === null) return undefined
    return await loadSession(database, sessionId, valid.session.fresh)
  }
  return {
    async create({ userId, mspId, membershipId }) {
      const { id } = await lucia.createSession(userId, { mspId, membershipId })
      const created = await find(id)
      if (created === undefined) throw new Error('a session that was just made is not there')
      return created
    },
    find,
    end: (sessionId) => lucia.invalidateSession(sessionId),
    deleteExpired: () => lucia.deleteExpiredSessions(),
    cookie: (sessionId) =>
      (sessionId === undefined ? lucia.createBlankSessionCookie() : lucia.createSessionCookie(sessionId)).serialize(),
    read({ authorization, cookie }) {
      const bearer = lucia.readBearerToken(authorization ?? '')
      if (bearer !== null && bearer !== '') return { sessionId: bearer, from: 'bearer' }
      const sessionId = lucia.readSessionCookie(cookie ?? '')
      return sessionId === null || sessionId === '' ? undefined : { sessionId, from: 'cookie' }
    },
  }
}

function hashOf(sessionId: string): string {
  return createHash('sha256').update(sessionId).digest('hex')
}

function createHashingAdapter(database: Database): Adapter {
  return {
    async getSessionAndUser(sessionId) {
      const [row] = await database.withSystem('check a session', (tx) =>
        tx
          .select()
          .from(session)
          .where(and(eq(session.idHash, hashOf(sessionId)), gt(session.createdAt, new Date(Date.now() - LIFETIME_MS)))),
      )
      if (row === undefined) return [null, null]
      const attributes = { mspId: row.mspId, membershipId: row.membershipId }
      return [
        { id: sessionId, userId: row.userId, expiresAt: row.expiresAt, attributes },
        { id: row.userId, attributes: {} },
      ]
    },
    // Ids cannot be given back: only their hashes are known.
    getUserSessions: () => Promise.resolve([]),
    async setSession({ id, userId, expiresAt, attributes }) {
      await database.withSystem('log in', (tx) =>
        tx.insert(session).values({ idHash: hashOf(id), userId, expiresAt, ...attributes }),
      )
    },
    async updateSessionExpiration(sessionId, expiresAt) {
      const limit = sql`${session.createdAt} + make_interval(secs => ${LIFETIME_MS / 1000})`
      await database.withSystem('prolong a session', (tx) =>
        tx
          .update(session)
          .set({ expiresAt: sql`least(${expiresAt.toISOString()}::timestamptz, ${limit})` })
          .where(eq(session.idHash, hashOf(sessionId))),
      )
    },
    async deleteSession(sessionId) {
      await database.withSystem('log out', (tx) => tx.delete(session).where(eq(session.idHash, hashOf(sessionId))))
    },
    async deleteUserSessions(userId) {
      await database.withSystem('log out everywhere', (tx) => tx.delete(session).where(eq(session.userId, userId)))
    },
    async deleteExpiredSessions() {
      await database.withSystem('remove expired sessions', (tx) =>
        tx.delete(session).where(lt(session.expiresAt, new Date())),
      )
    },
  }
}

async function loadSession(
  database: Database,
  sessionId: string,
  prolonged: boolean,
): Promise<ActiveSession | undefined> {
  const [row] = await database.withSystem('load a session', (tx) =>
    tx
      .select({ session, userAccount, membership, mspName: msp.name })
      .from(session)
      .innerJoin(userAccount, eq(userAccount.id, session.userId))
      .innerJoin(membership, and(eq(membership.mspId, session.mspId), eq(membership.id, session.membershipId)))
      .innerJoin(msp, eq(msp.id, session.mspId))
      .where(eq(session.idHash, hashOf(sessionId))),
  )
  if (row === undefined) return undefined
  return {
    sessionId,
    prolonged,
    expiresAt: row.session.expiresAt,
    userId: row.userAccount.id,
    email: row.userAccount.email,
    displayName: row.userAccount.displayName,
    mspId: row.session.mspId,
    mspName: row.mspName,
    role: row.membership.role,
    permissions: permissionsOf[row.membership.role],
    tenant: {
      mspId: row.session.mspId,
      customers: row.membership.scope === 'all' ? 'all' : row.membership.customerIds,
    },
  }
}
