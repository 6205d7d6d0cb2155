import { JobView, PAGE_SIZE_MAX } from '@sendense/shared/contracts/api/protection-api.ts'
import { jobStates } from '@sendense/shared/domain/job-state.ts'
import { z } from 'zod'
import { listJobs as selectJobs } from '../../protection/job-views.ts'
import { tenantProcedure } from '../trpc.ts'

const ListJobsInput = z.strictObject({
  vmId: z.uuid().optional(),
  state: z.array(z.enum(jobStates)).max(jobStates.length).optional(),
  before: z.iso.datetime().optional(),
  limit: z.int().min(1).max(PAGE_SIZE_MAX).optional(),
})

/** Newest first. Pass the last one's `queuedAt` as `before` to get the next page. */
export const listJobs = tenantProcedure('job.read')
  .input(ListJobsInput.default({}))
  .output(z.array(JobView))
  .query(({ ctx, input }) => selectJobs(ctx.tx, ctx.services.progress, input))
