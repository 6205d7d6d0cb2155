import type { CommandHandler } from './command-handler.ts'

export const cancelJob: CommandHandler<'cancel-job'> = async ({ command }, { jobs }, options) => {
  await jobs.cancel(command.jobId, options)
  return 'done'
}
