import { RepositoryView } from '@sendense/shared/contracts/api/protection-api.ts'
import { z } from 'zod'
import { listRepositories as selectRepositories } from '../../protection/repository-views.ts'
import { tenantProcedure } from '../trpc.ts'

export const listRepositories = tenantProcedure('repository.read')
  .output(z.array(RepositoryView))
  .query(({ ctx }) => selectRepositories(ctx.tx))
