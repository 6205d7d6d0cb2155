import { JobView, StartVerifyInput } from '@sendense/shared/contracts/api/protection-api.ts'
import { orderVerify } from '../../protection/job-orders.ts'
import { tenantProcedure } from '../trpc.ts'
import { announceOrder } from './announce-order.ts'

export const startVerify = tenantProcedure('verify.run')
  .input(StartVerifyInput)
  .output(JobView)
  .mutation(async ({ ctx, input }) => {
    const orderer = { email: ctx.session.email, now: ctx.services.now() }
    return await announceOrder(ctx, await orderVerify(ctx.tx, input, orderer))
  })
