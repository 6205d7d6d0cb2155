import { AcknowledgeAlertsInput, AlertView } from '@sendense/shared/contracts/api/alert-api.ts'
import { z } from 'zod'
import { acknowledgeAlerts as acknowledge } from '../../alerting/acknowledge-alerts.ts'
import { tenantProcedure } from '../trpc.ts'

/** The alerts as they stand now, newest first. */
export const acknowledgeAlerts = tenantProcedure('alert.acknowledge')
  .input(AcknowledgeAlertsInput)
  .output(z.array(AlertView))
  .mutation(async ({ ctx, input }) => {
    const who = { email: ctx.session.email, now: ctx.services.now() }
    const { alerts, changed } = await acknowledge(ctx.tx, input.alertIds, who)
    ctx.afterCommit(() => {
      for (const { alertId, agentId, ...audience } of changed) {
        ctx.services.live.publish(audience, { type: 'alert-acknowledged', alertId, agentId })
      }
    })
    return alerts
  })
