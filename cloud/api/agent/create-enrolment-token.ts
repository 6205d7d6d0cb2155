import { EnrolmentTokenView } from '@sendense/shared/contracts/api/fleet-api.ts'
import { z } from 'zod'
import { createEnrolmentToken as insertToken } from '../../fleet/enrolment-tokens.ts'
import { tenantProcedure } from '../trpc.ts'

export const createEnrolmentToken = tenantProcedure('agent.enrol')
  .input(z.strictObject({ siteId: z.uuid() }))
  .output(EnrolmentTokenView)
  .mutation(({ ctx, input }) =>
    insertToken(ctx.tx, { siteId: input.siteId, createdBy: ctx.session.email, now: ctx.services.now() }),
  )
