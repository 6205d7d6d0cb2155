import { adoptRestorePoint } from '../backup/adopt-restore-points.ts'
import type { CallOptions } from '../block/block-source.ts'
import type { NewJob } from '../jobs/job-engine.ts'
import type { CommandContext } from './command-context.ts'

/** Makes the job and marks its command as dispatched, in one transaction; the job answers for the command. */
export async function submitJob(
  { catalogue, jobs }: CommandContext,
  job: NewJob & { readonly commandId: string },
  options: CallOptions,
): Promise<'dispatched'> {
  await catalogue.transaction(async (tx) => {
    // Before the job: one that fails at once settles the command itself.
    await tx.inbox.setState(job.commandId, 'dispatched')
    await jobs.submit(tx, job)
  }, options)
  jobs.nudge()
  return 'dispatched'
}

/**
 * The VM a restore point is of. A point that only the repository knows is taken into the catalogue.
 * Rejects with `repository.missing`, `repository.restore_point_not_found`, `repository.manifest_invalid`.
 */
export async function findVmOfRestorePoint(
  { catalogue, repositories }: CommandContext,
  { restorePointId, repositoryId }: { readonly restorePointId: string; readonly repositoryId: string },
  options: CallOptions,
): Promise<string> {
  const known = await catalogue.transaction(async (tx) => await tx.restorePoints.find(restorePointId), options)
  if (known !== undefined) return known.vmId
  const repository = await repositories.get(repositoryId, options)
  const sealed = await repository.getRestorePoint(restorePointId, options)
  await adoptRestorePoint(catalogue, sealed, options)
  return sealed.manifest.vmId
}
