import { z } from 'zod'
import { enqueueCommand } from '../../fleet/command-queue.ts'
import { tenantProcedure } from '../trpc.ts'

export const refreshInventory = tenantProcedure('inventory.refresh')
  .input(z.strictObject({ agentId: z.uuid() }))
  .output(z.strictObject({ commandId: z.uuid() }))
  .mutation(async ({ ctx, input: { agentId } }) => {
    const now = ctx.services.now()
    const ordered = await enqueueCommand(ctx.tx, { agentId, body: { type: 'refresh-inventory' }, now })
    ctx.afterCommit(() => ctx.services.nudge(agentId))
    return ordered
  })
