import { RestorePointView } from '@sendense/shared/contracts/api/protection-api.ts'
import { z } from 'zod'
import { getRestorePoint as selectRestorePoint } from '../../protection/restore-point-views.ts'
import { tenantProcedure } from '../trpc.ts'

export const getRestorePoint = tenantProcedure('restore-point.read')
  .input(z.strictObject({ restorePointId: z.uuid() }))
  .output(RestorePointView)
  .query(({ ctx, input }) => selectRestorePoint(ctx.tx, input.restorePointId))
