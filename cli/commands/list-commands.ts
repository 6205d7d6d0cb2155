import type { RestorePointView, VmView } from '@sendense/shared/contracts/api/protection-api.ts'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { type JobState, jobStates } from '@sendense/shared/domain/job-state.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Command } from 'commander'
import { z } from 'zod'
import { chooseVm } from '../api/choose-vm.ts'
import type { CliContext, CommandOutcome } from '../cli-context.ts'
import { exitCodes } from '../exit-codes.ts'
import { formatJobTable } from '../output/job-text.ts'
import { formatLocalTime } from '../output/local-time.ts'
import { formatRestorePointTable } from '../output/restore-point-text.ts'
import { formatTable } from '../output/table.ts'
import { formatVmTable } from '../output/vm-text.ts'
import { type CommandRun, openRun } from './command-run.ts'

const LIMIT_MAX = 200
const Options = z.object({
  vm: z.string().optional(),
  state: z.string().optional(),
  limit: z.string().regex(/^\d+$/).transform(Number).pipe(z.int().min(1).max(LIMIT_MAX)).optional(),
})

export async function listSites(context: CliContext, command: Command): CommandOutcome {
  await using run = await openRun(context, command)
  const sites = await run.api.site.list.query()
  run.print(sites, () =>
    formatTable(
      sites,
      [
        { heading: 'site', text: (site) => site.siteId },
        { heading: 'name', text: (site) => site.name },
        { heading: 'customer', text: (site) => site.customerName },
        { heading: 'time zone', text: (site) => site.timeZone },
        { heading: 'agents online', text: (site) => onlineOf(site.agents), align: 'right' },
        { heading: 'vms', text: (site) => String(site.vmCount), align: 'right' },
        { heading: 'protected', text: (site) => String(site.protectedVmCount), align: 'right' },
      ],
      'No sites.',
    ),
  )
  return exitCodes.ok
}

export async function listAgents(context: CliContext, command: Command): CommandOutcome {
  await using run = await openRun(context, command)
  const agents = await run.api.agent.list.query()
  run.print(agents, () =>
    formatTable(
      agents,
      [
        { heading: 'agent', text: (agent) => agent.agentId },
        { heading: 'host', text: (agent) => agent.hostname },
        { heading: 'site', text: (agent) => agent.siteName },
        { heading: 'customer', text: (agent) => agent.customerName },
        { heading: 'presence', text: (agent) => agent.presence },
        { heading: 'last seen', text: (agent) => formatLocalTime(agent.lastSeenAt) },
        { heading: 'version', text: (agent) => agent.agentVersion },
      ],
      'No agents.',
    ),
  )
  return exitCodes.ok
}

export async function listVms(context: CliContext, command: Command): CommandOutcome {
  await using run = await openRun(context, command)
  const vms = await run.api.vm.list.query()
  run.print(vms, () => formatVmTable(vms))
  return exitCodes.ok
}

export async function listRepositories(context: CliContext, command: Command): CommandOutcome {
  await using run = await openRun(context, command)
  const repositories = await run.api.repository.list.query()
  run.print(repositories, () =>
    formatTable(
      repositories,
      [
        { heading: 'repository', text: (repository) => repository.repositoryId },
        { heading: 'name', text: (repository) => repository.name },
        { heading: 'site', text: (repository) => repository.siteName },
        { heading: 'kind', text: (repository) => repository.kind },
        { heading: 'state', text: (repository) => repository.state },
        { heading: 'free', text: ({ freeBytes }) => sizeText(freeBytes), align: 'right' },
        { heading: 'capacity', text: ({ capacityBytes }) => sizeText(capacityBytes), align: 'right' },
        { heading: 'points', text: (repository) => String(repository.restorePointCount), align: 'right' },
        { heading: 'stored', text: (repository) => formatByteSize(repository.storedBytes), align: 'right' },
        { heading: 'location', text: (repository) => repository.location },
      ],
      'No repositories.',
    ),
  )
  return exitCodes.ok
}

export async function listRestorePoints(context: CliContext, command: Command): CommandOutcome {
  await using run = await openRun(context, command)
  const vm = await chosenVm(run, Options.parse(command.opts()).vm)
  const points: RestorePointView[] = await run.api.restorePoint.list.query(vm === undefined ? {} : { vmId: vm.vmId })
  run.print(points, () => formatRestorePointTable(points))
  return exitCodes.ok
}

export async function listJobs(context: CliContext, command: Command): CommandOutcome {
  await using run = await openRun(context, command)
  const parsed = Options.safeParse(command.opts())
  if (!parsed.success) throw new PlatformError('input.invalid', `--limit: a number from 1 to ${LIMIT_MAX}`)
  const vm = await chosenVm(run, parsed.data.vm)
  const jobs = await run.api.job.list.query({
    ...(vm === undefined ? {} : { vmId: vm.vmId }),
    ...(parsed.data.state === undefined ? {} : { state: parseStates(parsed.data.state) }),
    ...(parsed.data.limit === undefined ? {} : { limit: parsed.data.limit }),
  })
  run.print(jobs, () => formatJobTable(jobs))
  return exitCodes.ok
}

/** @throws PlatformError `input.invalid` that lists the states there are */
export function parseStates(text: string): JobState[] {
  const known = new Set<string>(jobStates)
  const words = text.split(',').map((word) => word.trim())
  const wrong = words.find((word) => !known.has(word))
  if (wrong !== undefined) {
    throw new PlatformError('input.invalid', `--state ${wrong}: one of ${jobStates.join(', ')}`)
  }
  return words.filter((word): word is JobState => known.has(word))
}

async function chosenVm(run: CommandRun, text: string | undefined): Promise<VmView | undefined> {
  return text === undefined ? undefined : chooseVm(await run.api.vm.list.query(), text)
}

function sizeText(bytes: number | null): string {
  return bytes === null ? '–' : formatByteSize(bytes)
}

function onlineOf(agents: readonly { presence: string }[]): string {
  return `${agents.filter((agent) => agent.presence === 'online').length} of ${agents.length}`
}
