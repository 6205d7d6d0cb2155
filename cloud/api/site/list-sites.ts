import { SiteView } from '@sendense/shared/contracts/api/fleet-api.ts'
import { z } from 'zod'
import { listSites as selectSites } from '../../fleet/agent-views.ts'
import { tenantProcedure } from '../trpc.ts'

export const listSites = tenantProcedure('site.read')
  .output(z.array(SiteView))
  .query(({ ctx }) => selectSites(ctx.tx, ctx.services.presence))
