import {
  AlertCursor,
  type AlertView,
  ALERTS_AT_ONCE_MAX,
  type ListAlertsInput,
} from '@sendense/shared/contracts/api/alert-api.ts'
import { PAGE_SIZE_MAX } from '@sendense/shared/contracts/api/protection-api.ts'
import { alertSeverities, type AlertSeverity } from '@sendense/shared/domain/alert-severity.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Command } from 'commander'
import { z } from 'zod'
import { chooseAgent, chooseSite } from '../api/choose-place.ts'
import type { CliContext, CommandOutcome } from '../cli-context.ts'
import { exitCodes } from '../exit-codes.ts'
import { acknowledgementLine, formatAlerts } from '../output/alert-text.ts'
import { type CommandRun, openRun } from './command-run.ts'
import { parseId } from './parse-id.ts'

const LIMIT_DEFAULT = 100
const LIMIT_MAX = 10_000

const ListOptions = z.object({
  all: z.boolean().default(false),
  severity: z.string().optional(),
  site: z.string().optional(),
  agent: z.string().optional(),
  limit: z.string().regex(/^\d+$/).transform(Number).pipe(z.int().min(1).max(LIMIT_MAX)).default(LIMIT_DEFAULT),
})
type ListOptions = z.infer<typeof ListOptions>

export async function listAlerts(context: CliContext, command: Command): CommandOutcome {
  const parsed = ListOptions.safeParse(command.opts())
  if (!parsed.success) throw new PlatformError('input.invalid', `--limit: a number from 1 to ${LIMIT_MAX}`)
  const options = parsed.data
  const severity = options.severity === undefined ? undefined : parseSeverities(options.severity)
  await using run = await openRun(context, command)
  const filter: ListAlertsInput = {
    ...(options.all ? {} : { state: 'open' as const }),
    ...(severity === undefined ? {} : { severity }),
    ...(await placeOf(run, options)),
  }
  const { alerts, follow } = await readPages(run, filter, options.limit)
  run.print(alerts, () => formatAlerts(alerts, options))
  if (follow) context.stderr.write(`more than these ${alerts.length} are there; see them with a higher --limit\n`)
  return exitCodes.ok
}

/** All that are named, or none of them. */
export async function acknowledgeAlerts(context: CliContext, command: Command): CommandOutcome {
  const alertIds = command.args.map((text) => parseId(text, 'alert'))
  if (alertIds.length > ALERTS_AT_ONCE_MAX) {
    throw new PlatformError('input.invalid', `at most ${ALERTS_AT_ONCE_MAX} alerts at once, not ${alertIds.length}`)
  }
  await using run = await openRun(context, command)
  const alerts = await run.api.alert.acknowledge.mutate({ alertIds })
  run.print(alerts, () => alerts.map((alert) => acknowledgementLine(alert)).join('\n'))
  return exitCodes.ok
}

/** @throws PlatformError `input.invalid` that lists the severities there are */
export function parseSeverities(text: string): AlertSeverity[] {
  const words = new Set(text.split(',').map((word) => word.trim()))
  const known = alertSeverities.filter((severity) => words.has(severity))
  const wrong = [...words].find((word) => !alertSeverities.some((severity) => severity === word))
  if (wrong !== undefined) {
    throw new PlatformError('input.invalid', `--severity ${wrong}: one of ${alertSeverities.join(', ')}`)
  }
  return known
}

async function placeOf(run: CommandRun, { site, agent }: ListOptions): Promise<{ siteId?: string; agentId?: string }> {
  return {
    ...(site === undefined ? {} : { siteId: chooseSite(await run.api.site.list.query(), site).siteId }),
    ...(agent === undefined ? {} : { agentId: chooseAgent(await run.api.agent.list.query(), agent).agentId }),
  }
}

async function readPages(
  run: CommandRun,
  filter: ListAlertsInput,
  limit: number,
): Promise<{ alerts: AlertView[]; follow: boolean }> {
  const alerts: AlertView[] = []
  let cursor: z.infer<typeof AlertCursor> | null = null
  do {
    const size = Math.min(PAGE_SIZE_MAX, limit - alerts.length)
    const page = await run.api.alert.list.query({ ...filter, limit: size, ...(cursor === null ? {} : { cursor }) })
    alerts.push(...page.alerts)
    cursor = page.nextCursor
  } while (cursor !== null && alerts.length < limit)
  return { alerts, follow: cursor !== null }
}
