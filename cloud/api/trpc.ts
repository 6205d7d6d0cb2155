import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { initTRPC } from '@trpc/server'
import type { Permission } from '../identity/permissions.ts'
import type { ApiContext } from './api-context.ts'
import { reportOf, toTrpcError } from './error-report.ts'

/** Who may call a procedure: anybody, anybody who is logged in, or roles with the permission. */
export interface ProcedureMeta {
  readonly access: 'public' | 'session' | Permission
}

const t = initTRPC
  .context<ApiContext>()
  .meta<ProcedureMeta>()
  .create({
    errorFormatter: ({ shape, error }) => {
      const report = reportOf(error)
      return {
        code: shape.code,
        message: report.message,
        data: { code: shape.data.code, httpStatus: shape.data.httpStatus, path: shape.data.path, report },
      }
    },
  })

export const { router, createCallerFactory } = t

const translated = t.procedure.use(async ({ next }) => {
  const result = await next()
  if (!result.ok && result.error.cause instanceof PlatformError) throw toTrpcError(result.error.cause)
  return result
})

export const publicProcedure = translated.meta({ access: 'public' })

const signedIn = translated.use(async ({ ctx, next }) => {
  const { services, channel } = ctx
  const session =
    channel === 'socket' && ctx.session !== undefined
      ? await services.sessions.find(ctx.session.sessionId)
      : ctx.session
  if (session === undefined) {
    throw toTrpcError(new PlatformError('identity.session_required', 'nobody is logged in'))
  }
  return await next({ ctx: { session } })
})

/** Signed in. Has no transaction: for the session itself. */
export const sessionProcedure = signedIn.meta({ access: 'session' })

/** Signed in and permitted. Has no transaction: for streams. */
export function permittedProcedure(permission: Permission) {
  return signedIn.meta({ access: permission }).use(async ({ ctx, next }) => {
    if (!ctx.session.permissions.has(permission)) {
      throw toTrpcError(new PlatformError('identity.forbidden', `your role does not include ${permission}`))
    }
    return await next()
  })
}

/**
 * Signed in, permitted, and inside a transaction that sees only the caller's tenant. `afterCommit` keeps
 * what must happen only once the change is durable.
 */
export function tenantProcedure(permission: Permission) {
  return permittedProcedure(permission).use(async ({ ctx, next }) => {
    const later: (() => void)[] = []
    const result = await ctx.services.database.withTenant(ctx.session.tenant, async (tx) => {
      const inner = await next({ ctx: { tx, afterCommit: (work: () => void) => void later.push(work) } })
      if (!inner.ok) throw inner.error // a rejected procedure must roll back
      return inner
    })
    for (const work of later) work()
    return result
  })
}
