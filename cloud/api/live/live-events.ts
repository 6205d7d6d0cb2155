import { isDeepStrictEqual } from 'node:util'
import { LiveEvent } from '@sendense/shared/contracts/api/protection-api.ts'
import { tracked } from '@trpc/server'
import { z } from 'zod'
import type { ActiveSession } from '../../identity/session-service.ts'
import { permittedProcedure } from '../trpc.ts'

const RECHECK_MS = 60_000

/** The stream was opened for one tenant and one scope: with any other it has to be opened anew. */
export function maySee(session: ActiveSession | undefined, opened: ActiveSession): boolean {
  return session?.permissions.has('live.read') === true && isDeepStrictEqual(session.tenant, opened.tenant)
}

/**
 * What changes for the caller's tenant, until the caller leaves or the session ends. Events are hints to
 * read again; `lastEventId` resumes after a lost connection.
 */
export const liveEvents = permittedProcedure('live.read')
  .input(z.strictObject({ lastEventId: z.string().max(100).optional() }).default({}))
  .subscription(async function* ({ ctx, input, signal }) {
    const ended = new AbortController()
    const recheck = setInterval(() => {
      ctx.services.sessions.find(ctx.session.sessionId).then(
        (session) => maySee(session, ctx.session) || ended.abort(),
        (error: unknown) => ctx.services.logger.warn({ error: String(error) }, 'a session could not be checked'),
      )
    }, RECHECK_MS)
    try {
      const until = signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal])
      const { lastEventId } = input
      for await (const { id, event } of ctx.services.live.subscribe(ctx.session.tenant, {
        lastEventId,
        signal: until,
      })) {
        yield tracked(id, LiveEvent.parse(event))
      }
    } finally {
      clearInterval(recheck)
    }
  })
