import { JobView, StartBackupInput } from '@sendense/shared/contracts/api/protection-api.ts'
import { orderBackup } from '../../protection/job-orders.ts'
import { tenantProcedure } from '../trpc.ts'
import { announceOrder } from './announce-order.ts'

export const startBackup = tenantProcedure('backup.run')
  .input(StartBackupInput)
  .output(JobView)
  .mutation(async ({ ctx, input }) => {
    const orderer = { email: ctx.session.email, now: ctx.services.now() }
    return await announceOrder(ctx, await orderBackup(ctx.tx, input, orderer))
  })
