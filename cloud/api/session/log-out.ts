import { z } from 'zod'
import { sessionProcedure } from '../trpc.ts'

export const logOut = sessionProcedure.output(z.null()).mutation(async ({ ctx }) => {
  await ctx.services.sessions.end(ctx.session.sessionId)
  ctx.setCookie(ctx.services.sessions.cookie())
  return null
})
