import { JobView } from '@sendense/shared/contracts/api/protection-api.ts'
import { z } from 'zod'
import { orderCancel } from '../../protection/job-orders.ts'
import { tenantProcedure } from '../trpc.ts'
import { announceOrder } from './announce-order.ts'

/** The job as it stands now; one that its agent already has ends when the agent says so. */
export const cancelJob = tenantProcedure('job.cancel')
  .input(z.strictObject({ jobId: z.uuid() }))
  .output(JobView)
  .mutation(async ({ ctx, input }) => {
    const orderer = { email: ctx.session.email, now: ctx.services.now() }
    return await announceOrder(ctx, await orderCancel(ctx.tx, input.jobId, orderer))
  })
