import { randomUUID } from 'node:crypto'
import type { JobDetailView, JobView } from '@sendense/shared/contracts/api/protection-api.ts'
import { VmName } from '@sendense/shared/contracts/identifiers.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Command } from 'commander'
import { z } from 'zod'
import { chooseVm } from '../api/choose-vm.ts'
import { followJob } from '../api/follow-job.ts'
import { createJobFeed } from '../api/job-feed.ts'
import type { CliContext, CommandOutcome } from '../cli-context.ts'
import { exitCodes } from '../exit-codes.ts'
import { createJobReporter } from '../output/job-reporter.ts'
import { jobSentence } from '../output/job-text.ts'
import { printable } from '../output/printable.ts'
import { reasonLines } from '../output/restore-point-text.ts'
import { type CommandRun, openRun } from './command-run.ts'
import { parseId } from './parse-id.ts'

const BackupOptions = z.object({
  full: z.boolean().default(false),
  quiesce: z.boolean(),
  wait: z.boolean().default(false),
})
const RestoreOptions = z.object({
  vm: z.string().optional(),
  name: z.string(),
  start: z.boolean(),
  wait: z.boolean().default(false),
})
const VerifyOptions = z.object({ vm: z.string().optional(), wait: z.boolean().default(false) })

export async function backUp(context: CliContext, command: Command, vmName: string): CommandOutcome {
  const { full, quiesce, wait } = BackupOptions.parse(command.opts())
  await using run = await openRun(context, command)
  const { vmId } = chooseVm(await run.api.vm.list.query(), vmName)
  const mode = full ? 'full' : 'auto'
  const job = await run.api.job.startBackup.mutate({ vmId, mode, quiesce, idempotencyKey: randomUUID() })
  return await finish(run, job, wait)
}

export async function restore(context: CliContext, command: Command, point: string): CommandOutcome {
  const options = RestoreOptions.parse(command.opts())
  const name = VmName.safeParse(options.name)
  if (!name.success)
    throw new PlatformError('input.invalid', `--name ${options.name}: ${name.error.issues[0]?.message}`)
  await using run = await openRun(context, command)
  const restorePointId = await chooseRestorePoint(run, point, options.vm)
  const job = await run.api.job.startRestore.mutate({
    restorePointId,
    newVmName: name.data,
    start: options.start,
    idempotencyKey: randomUUID(),
  })
  return await finish(run, job, options.wait)
}

export async function verify(context: CliContext, command: Command, point: string): CommandOutcome {
  const { vm, wait } = VerifyOptions.parse(command.opts())
  await using run = await openRun(context, command)
  const restorePointId = await chooseRestorePoint(run, point, vm)
  const job = await run.api.job.startVerify.mutate({ restorePointId, idempotencyKey: randomUUID() })
  return await finish(run, job, wait)
}

export async function cancel(context: CliContext, command: Command, jobId: string): CommandOutcome {
  await using run = await openRun(context, command)
  const job = await run.api.job.cancel.mutate({ jobId: parseId(jobId, 'job') })
  run.print(job, () => jobSentence(job))
  return exitCodes.ok
}

/** `latest` is the newest point of `--vm`. */
async function chooseRestorePoint(run: CommandRun, point: string, vmName: string | undefined): Promise<string> {
  if (point !== 'latest') return parseId(point, 'restore point')
  if (vmName === undefined)
    throw new PlatformError('input.invalid', 'latest needs --vm, to know the newest of which VM')
  const vm = chooseVm(await run.api.vm.list.query(), vmName)
  const [newest] = await run.api.restorePoint.list.query({ vmId: vm.vmId })
  if (newest === undefined) {
    throw new PlatformError('repository.restore_point_not_found', `${vm.name} has no restore point yet`)
  }
  return newest.restorePointId
}

async function finish(run: CommandRun, job: JobView, wait: boolean): CommandOutcome {
  if (!wait) {
    run.print(job, () => `${jobSentence(job)}\njob ${job.jobId}; follow it with: sendense watch ${job.jobId}`)
    return exitCodes.ok
  }
  return await waitForJob(run, job.jobId)
}

/** Shows the job on stderr until it ends, then its result on stdout. Ctrl-C stops the watching, never the job. */
async function waitForJob(run: CommandRun, jobId: string): CommandOutcome {
  const { context } = run
  const reporter = createJobReporter(context.stderr)
  if (!run.json) context.stderr.write(`job ${jobId}\n`)
  let last: JobDetailView | undefined
  try {
    for await (const job of followJob(createJobFeed(run.api), jobId, context)) {
      last = job
      if (!run.json) reporter.show(job)
    }
  } finally {
    reporter.close()
    if (context.signal.aborted) {
      context.stderr.write(`no longer watching; the job goes on. Cancel it with: sendense cancel ${jobId}\n`)
    }
  }
  if (last === undefined) throw new PlatformError('job.not_found', `job ${jobId} is not there`)
  const ended = last
  const why = run.json ? [] : await reasonsOf(run, ended)
  run.print(ended, () => [jobSentence(ended), ...why].join('\n'))
  if (ended.state !== 'succeeded' && ended.error !== null && !run.json) {
    context.stderr.write(`advice: ${printable(ended.error.advice)}\n`)
  }
  return ended.state === 'succeeded' ? exitCodes.ok : exitCodes.failed
}

/** Of a backup: the restore point it made, and why each disk was read the way it was. */
async function reasonsOf(run: CommandRun, job: JobView): Promise<string[]> {
  if (job.result?.kind !== 'backup') return []
  const { restorePointId } = job.result
  const point = await run.api.restorePoint.get.query({ restorePointId })
  return [`restore point ${restorePointId}, ${point.consistency} consistent`, ...reasonLines(point)]
}
