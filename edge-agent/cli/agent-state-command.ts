import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { type Command, InvalidArgumentError } from 'commander'
import type { CatalogueTransaction } from '../catalog/catalogue.ts'
import type { EdgeAgentConfig } from '../config.ts'
import { withCatalogue } from './with-catalogue.ts'

const LISTED_DEFAULT = 50
const LISTED_MAX = 10_000

interface ListOptions {
  readonly json?: boolean
  readonly limit: number
}

/** Adds `run`, `status`, `jobs`, `job-log` and `restore-points`: the agent on its own machine, without the cloud. */
export function registerAgentStateCommands(program: Command): void {
  program.command('run').description('run the agent in the foreground').action(runInForeground)
  program
    .command('status')
    .description('what the agent knows: VMs, repositories, jobs under way, events that wait for the cloud')
    .option('--json', 'print JSON')
    .action(async (options: { json?: boolean }) => await show(options, readStatus, describeStatus))
  onList(program.command('jobs').description('the newest jobs')).action(
    async (options: ListOptions) => await show(options, async (tx) => await readJobs(tx, options), describeJobs),
  )
  program
    .command('job-log <jobId>')
    .description('what a job did, sentence by sentence')
    .option('--json', 'print JSON')
    .action(async (jobId: string, options: { json?: boolean }) => {
      const read = async (tx: CatalogueTransaction) => await tx.jobs.listLog(jobId)
      await show(options, read, (log) => log.map((entry) => `${entry.at}  ${entry.level}  ${entry.sentence}`))
    })
  onList(program.command('restore-points').description('the newest restore points')).action(
    async (options: ListOptions) => {
      const read = async (tx: CatalogueTransaction) => await tx.restorePoints.list({ limit: options.limit })
      await show(options, read, describePoints)
    },
  )
}

function onList(command: Command): Command {
  return command
    .option('--json', 'print JSON')
    .option('--limit <count>', 'how many at most', parseLimit, LISTED_DEFAULT)
}

function parseLimit(text: string): number {
  const count = Number(text)
  if (Number.isInteger(count) && count >= 1 && count <= LISTED_MAX) return count
  throw new InvalidArgumentError(`a number from 1 to ${LISTED_MAX}`)
}

async function runInForeground(): Promise<void> {
  const main = fileURLToPath(new URL('../main.ts', import.meta.url))
  const child = spawn(process.execPath, [main], { stdio: 'inherit', cwd: path.dirname(main) })
  const pass = (name: NodeJS.Signals) => child.kill(name)
  process.on('SIGTERM', pass)
  process.on('SIGINT', pass)
  await once(child, 'exit')
  process.exitCode = child.exitCode ?? 1
}

async function show<T>(
  { json }: { readonly json?: boolean },
  read: (tx: CatalogueTransaction, config: EdgeAgentConfig) => Promise<T>,
  describe: (value: T) => string[],
): Promise<void> {
  const value = await withCatalogue(
    async ({ catalogue, config, signal }) =>
      await catalogue.transaction(async (tx) => await read(tx, config), { signal }),
  )
  const text = json === true ? JSON.stringify(value, null, 2) : describe(value).join('\n')
  process.stdout.write(`${text}\n`)
}

async function readStatus(tx: CatalogueTransaction) {
  const unfinished = await tx.jobs.list({ states: ['queued', 'running', 'cancelling'], limit: LISTED_MAX })
  const [oldest] = await tx.outbox.list({ after: 0, limit: 1 })
  const highMark = await tx.outbox.highMark()
  return {
    bootEpoch: await tx.settings.getNumber('boot-epoch'),
    vms: (await tx.vms.list()).filter((vm) => vm.present),
    repositories: await tx.repositories.list(),
    jobsUnfinished: unfinished,
    lastCommandSequence: await tx.inbox.lastSequence(),
    eventsWaiting: oldest === undefined ? 0 : highMark - oldest.sequence + 1,
  }
}

function describeStatus(status: Awaited<ReturnType<typeof readStatus>>): string[] {
  return [
    `started ${status.bootEpoch} times`,
    ...status.vms.map((vm) => `VM ${vm.name}  ${vm.powerState}  ${vm.vmId}`),
    ...status.repositories.map((repository) => `repository ${repository.name}  ${repository.location}`),
    ...status.jobsUnfinished.map((job) => `job ${job.jobId}  ${job.kind}  ${job.state}`),
    `last command ${status.lastCommandSequence}, events that wait for the cloud ${status.eventsWaiting}`,
  ]
}

async function readJobs(tx: CatalogueTransaction, { limit }: ListOptions) {
  return (await tx.jobs.list({ limit, newestFirst: true })).map((job) => ({ ...job }))
}

function describeJobs(jobs: Awaited<ReturnType<typeof readJobs>>): string[] {
  return jobs.map((job) => {
    const end = job.error === undefined ? '' : `  ${job.error.code}: ${job.error.message}`
    return `${job.queuedAt.toISOString()}  ${job.kind}  ${job.state}  ${job.jobId}${end}`
  })
}

function describePoints(points: Awaited<ReturnType<CatalogueTransaction['restorePoints']['list']>>): string[] {
  return points.map((point) => {
    const stored = point.disks.reduce((sum, disk) => sum + disk.storedBytes, 0)
    const modes = point.disks.map((disk) => `${disk.diskId} ${disk.mode}`).join(', ')
    return `${point.takenAt}  ${point.vmName}  ${point.restorePointId}  ${formatByteSize(stored)}  ${modes}`
  })
}
