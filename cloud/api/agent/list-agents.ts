import { AgentView } from '@sendense/shared/contracts/api/fleet-api.ts'
import { z } from 'zod'
import { listAgents as selectAgents } from '../../fleet/agent-views.ts'
import { tenantProcedure } from '../trpc.ts'

export const listAgents = tenantProcedure('agent.read')
  .output(z.array(AgentView))
  .query(({ ctx }) => selectAgents(ctx.tx, ctx.services.presence))
