import { JobDetailView } from '@sendense/shared/contracts/api/protection-api.ts'
import { z } from 'zod'
import { getJobDetail } from '../../protection/job-views.ts'
import { tenantProcedure } from '../trpc.ts'

export const getJob = tenantProcedure('job.read')
  .input(z.strictObject({ jobId: z.uuid() }))
  .output(JobDetailView)
  .query(({ ctx, input }) => getJobDetail(ctx.tx, ctx.services.progress, input.jobId))
