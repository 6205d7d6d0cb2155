import { RestorePointView } from '@sendense/shared/contracts/api/protection-api.ts'
import { z } from 'zod'
import { listRestorePoints as selectRestorePoints } from '../../protection/restore-point-views.ts'
import { tenantProcedure } from '../trpc.ts'

/** Newest first. Pass the last one's `takenAt` as `before` to get the next page. */
export const listRestorePoints = tenantProcedure('restore-point.read')
  .input(z.strictObject({ vmId: z.uuid().optional(), before: z.iso.datetime().optional() }).default({}))
  .output(z.array(RestorePointView))
  .query(({ ctx, input }) => selectRestorePoints(ctx.tx, input))
