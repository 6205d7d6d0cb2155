import { VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { z } from 'zod'
import { getVm as selectVm } from '../../protection/vm-views.ts'
import { tenantProcedure } from '../trpc.ts'

export const getVm = tenantProcedure('vm.read')
  .input(z.strictObject({ vmId: z.uuid() }))
  .output(VmView)
  .query(({ ctx, input }) => selectVm(ctx.tx, input.vmId))
