import { JobView, StartRestoreInput } from '@sendense/shared/contracts/api/protection-api.ts'
import { orderRestore } from '../../protection/job-orders.ts'
import { tenantProcedure } from '../trpc.ts'
import { announceOrder } from './announce-order.ts'

export const startRestore = tenantProcedure('restore.run')
  .input(StartRestoreInput)
  .output(JobView)
  .mutation(async ({ ctx, input }) => {
    const orderer = { email: ctx.session.email, now: ctx.services.now() }
    return await announceOrder(ctx, await orderRestore(ctx.tx, input, orderer))
  })
