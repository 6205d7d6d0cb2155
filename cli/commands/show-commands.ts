import type { Command } from 'commander'
import { chooseVm } from '../api/choose-vm.ts'
import type { CliContext, CommandOutcome } from '../cli-context.ts'
import { exitCodes } from '../exit-codes.ts'
import { formatJob } from '../output/job-text.ts'
import { formatVm } from '../output/vm-text.ts'
import { openRun } from './command-run.ts'
import { parseId } from './parse-id.ts'

export async function showVm(context: CliContext, command: Command, name: string): CommandOutcome {
  await using run = await openRun(context, command)
  const vm = chooseVm(await run.api.vm.list.query(), name)
  run.print(vm, () => formatVm(vm))
  return exitCodes.ok
}

export async function showJob(context: CliContext, command: Command, jobId: string): CommandOutcome {
  await using run = await openRun(context, command)
  const job = await run.api.job.get.query({ jobId: parseId(jobId, 'job') })
  run.print(job, () => formatJob(job))
  return exitCodes.ok
}
