import type { JobView } from '@sendense/shared/contracts/api/protection-api.ts'
import type { TenantTransaction } from '../../db/database.ts'
import type { Ordered } from '../../protection/job-orders.ts'
import { getJob } from '../../protection/job-views.ts'
import type { ApiServices } from '../api-context.ts'

/** The ordered job as it stands; once committed its agent is nudged and onlookers hear of it. */
export async function announceOrder(
  ctx: { tx: TenantTransaction; services: ApiServices; afterCommit: (work: () => void) => void },
  ordered: Ordered,
): Promise<JobView> {
  const view = await getJob(ctx.tx, ctx.services.progress, ordered.jobId)
  const { agentId, mspId, customerId, jobId, vmId } = ordered
  ctx.afterCommit(() => {
    if (agentId !== undefined) ctx.services.nudge(agentId)
    ctx.services.live.publish({ mspId, customerId }, { type: 'job-changed', jobId, vmId, state: view.state })
  })
  return view
}
