import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CommandHandler } from './command-handler.ts'
import { submitJob } from './submit-job.ts'

export const backupVm: CommandHandler<'backup-vm'> = async ({ commandId, command }, context, options) => {
  const { vmId } = command
  const vm = await context.catalogue.transaction(async (tx) => await tx.vms.find(vmId), options)
  if (vm === undefined) {
    throw new PlatformError('source.vm_not_found', `this agent knows no VM ${vmId}`, { details: { vmId } })
  }
  return await submitJob(context, { vmId, commandId, arguments: command }, options)
}
