import { VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { z } from 'zod'
import { listVms as selectVms } from '../../protection/vm-views.ts'
import { tenantProcedure } from '../trpc.ts'

export const listVms = tenantProcedure('vm.read')
  .output(z.array(VmView))
  .query(({ ctx }) => selectVms(ctx.tx))
