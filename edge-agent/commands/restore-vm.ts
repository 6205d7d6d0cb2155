import type { CommandHandler } from './command-handler.ts'
import { findVmOfRestorePoint, submitJob } from './submit-job.ts'

export const restoreVm: CommandHandler<'restore-vm'> = async ({ commandId, command }, context, options) => {
  const vmId = await findVmOfRestorePoint(context, command, options)
  return await submitJob(context, { vmId, commandId, arguments: command }, options)
}
