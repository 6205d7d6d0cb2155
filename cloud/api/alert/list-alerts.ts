import { AlertPage, ListAlertsInput } from '@sendense/shared/contracts/api/alert-api.ts'
import { listAlerts as selectAlerts } from '../../alerting/alert-views.ts'
import { tenantProcedure } from '../trpc.ts'

/** Newest first. Pass `nextCursor` as `cursor` to get the next page. */
export const listAlerts = tenantProcedure('alert.read')
  .input(ListAlertsInput.default({}))
  .output(AlertPage)
  .query(({ ctx, input }) => selectAlerts(ctx.tx, input))
