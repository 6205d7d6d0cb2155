import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { AnyTRPCRouter } from '@trpc/server'
import { z } from 'zod'
import { permissions } from '../identity/permissions.ts'
import type { ProcedureMeta } from './trpc.ts'

const Definition = z.object({
  type: z.enum(['query', 'mutation', 'subscription']),
  meta: z.object({ access: z.enum(['public', 'session', ...permissions]) }),
})

export interface ProcedureAccess {
  readonly type: 'query' | 'mutation' | 'subscription'
  readonly access: ProcedureMeta['access']
}

/**
 * Who may call each procedure, by its path.
 * @throws PlatformError `config.invalid` where a procedure does not say it
 */
export function accessOf(router: AnyTRPCRouter): ReadonlyMap<string, ProcedureAccess> {
  const procedures: Record<string, unknown> = router._def.procedures
  return new Map(
    Object.entries(procedures).map(([path, procedure]) => {
      const isProcedure = typeof procedure === 'function' && '_def' in procedure
      const parsed = Definition.safeParse(isProcedure ? procedure._def : undefined)
      if (!parsed.success) throw new PlatformError('config.invalid', `procedure ${path} does not say who may call it`)
      return [path, { type: parsed.data.type, access: parsed.data.meta.access }]
    }),
  )
}
