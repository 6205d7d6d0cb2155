import { AlertSummary } from '@sendense/shared/contracts/api/alert-api.ts'
import { countOpenAlerts } from '../../alerting/alert-views.ts'
import { tenantProcedure } from '../trpc.ts'

export const summariseAlerts = tenantProcedure('alert.read')
  .output(AlertSummary)
  .query(({ ctx }) => countOpenAlerts(ctx.tx))
