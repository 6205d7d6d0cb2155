import { LogInInput, LogInResult } from '@sendense/shared/contracts/api/session-api.ts'
import { publicProcedure } from '../trpc.ts'
import { toSessionView } from './session-view.ts'

/** Always a new session: the id a browser came with is ended. */
export const logIn = publicProcedure
  .input(LogInInput)
  .output(LogInResult)
  .mutation(async ({ ctx, input }) => {
    const created = await ctx.services.logIn({ ...input, address: ctx.address })
    if (ctx.session !== undefined) await ctx.services.sessions.end(ctx.session.sessionId)
    ctx.setCookie(ctx.services.sessions.cookie(created.sessionId))
    return { session: toSessionView(created), token: created.sessionId }
  })
