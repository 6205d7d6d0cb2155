import type { CommandHandler } from './command-handler.ts'
import { findVmOfRestorePoint, submitJob } from './submit-job.ts'

export const verifyRestorePoint: CommandHandler<'verify-restore-point'> = async (received, context, options) => {
  const { commandId, command } = received
  const vmId = await findVmOfRestorePoint(context, command, options)
  return await submitJob(context, { vmId, commandId, arguments: command }, options)
}
