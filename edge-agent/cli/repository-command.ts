import process from 'node:process'
import { RetentionPolicy } from '@sendense/shared/contracts/retention-policy.ts'
import { type KeepReason, type RetentionRule, retentionRules } from '@sendense/shared/domain/retention.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import { systemClock } from '@sendense/shared/runtime/clock.ts'
import { type Command, InvalidArgumentError } from 'commander'
import { z } from 'zod'
import { type DeletionParts, deleteRestorePoint } from '../backup/delete-restore-point.ts'
import { previewPruning, pruneRestorePoints, type VmPruning } from '../backup/prune-restore-points.ts'
import { openOwnRepository } from './own-repository.ts'
import { registerRepositoryCopyCommand } from './repository-copy-command.ts'
import { DELETE_HELP, PRUNE_HELP } from './repository-help.ts'
import { withCatalogue } from './with-catalogue.ts'

const HOLD_CHARS_MAX = 255

interface JsonOption {
  readonly json?: boolean
}

interface PruneOptions extends JsonOption, Readonly<Partial<Record<`keep${Capitalize<RetentionRule>}`, number>>> {
  readonly zone: string
  readonly vm?: string
  readonly dryRun?: boolean
  readonly yes?: boolean
}

/** Adds `repository list|delete|prune|hold|release|copy`: which restore points the agent's own repository keeps, and copies. */
export function registerRepositoryCommands(program: Command): void {
  const repository = program.command('repository').description('which restore points the repository keeps')
  repository
    .command('list')
    .description('every restore point in it, oldest first')
    .option('--vm <id>', 'only those of one VM', parseId)
    .option('--json', 'print JSON')
    .action(list)
  repository
    .command('delete <restorePoint>')
    .description('delete one restore point')
    .option('--json', 'print JSON')
    .addHelpText('after', DELETE_HELP)
    .action(deleteOne)
  const prune = repository.command('prune').description('delete what a policy does not keep')
  for (const rule of retentionRules) {
    const what = rule === 'last' ? 'points' : `points, the newest of a period each (${rule})`
    prune.option(`--keep-${rule} <count>`, `keep so many ${what}`, parseCount)
  }
  prune
    .option('--zone <name>', 'time zone whose days count', Intl.DateTimeFormat().resolvedOptions().timeZone)
    .option('--vm <id>', 'only of one VM', parseId)
    .option('--dry-run', 'show what would be deleted')
    .option('--yes', 'delete it')
    .option('--json', 'print JSON')
    .addHelpText('after', PRUNE_HELP)
    .action(pruneAll)
  repository
    .command('hold <restorePoint>')
    .description('keep a restore point, whatever policies and people say, until it is released')
    .requiredOption('--reason <text>', 'why, for those who come later', parseReason)
    .action(async (id: string, { reason }: { reason: string }) => await setHold(id, reason))
  repository
    .command('release <restorePoint>')
    .description('end a hold')
    .action(async (id: string) => await setHold(id, undefined))
  registerRepositoryCopyCommand(repository)
}

async function list({ vm, json }: JsonOption & { readonly vm?: string }): Promise<void> {
  const points = await withRepository(async ({ repository, catalogue }, signal) => {
    const found = []
    for await (const { manifest } of repository.listRestorePoints(vm === undefined ? {} : { vmId: vm }, { signal })) {
      const { restorePointId, vmId, vmName, takenAt } = manifest
      const row = await catalogue.transaction(async (tx) => await tx.restorePoints.find(restorePointId), { signal })
      const { verification, hold } = row ?? {}
      found.push({ restorePointId, vmId, vmName, takenAt, verification, hold })
    }
    return found
  })
  const lines = points.map(({ takenAt, vmName, restorePointId, verification, hold }) => {
    const notes = [
      verification === undefined ? [] : `verification ${verification.outcome}`,
      hold === undefined ? [] : `held: ${hold}`,
    ]
    return [takenAt, vmName, restorePointId, ...notes.flat()].join('  ')
  })
  print(json === true ? JSON.stringify(points, null, 2) : lines.join('\n'))
}

async function deleteOne(id: string, { json }: JsonOption): Promise<void> {
  const restorePointId = parseId(id)
  await withRepository(async (parts, signal) => await deleteRestorePoint(parts, restorePointId, { signal }))
  print(json === true ? JSON.stringify({ deleted: restorePointId }) : `deleted restore point ${restorePointId}`)
}

async function pruneAll(options: PruneOptions): Promise<void> {
  const { zone, vm, dryRun = false, yes = false, json = false } = options
  if (dryRun === yes) throw wrongUse('repository prune needs either --dry-run or --yes')
  const policy = RetentionPolicy.safeParse({
    zone,
    last: options.keepLast,
    hourly: options.keepHourly,
    daily: options.keepDaily,
    weekly: options.keepWeekly,
    monthly: options.keepMonthly,
    yearly: options.keepYearly,
  })
  if (!policy.success) throw wrongUse(`this is no policy: ${z.prettifyError(policy.error)}`)
  const wish = { policy: policy.data, vmId: vm }
  const vms = await withRepository(async (parts, signal) =>
    dryRun ? await previewPruning(parts, wish, { signal }) : await pruneRestorePoints(parts, wish, { signal }),
  )
  print(json ? JSON.stringify(vms.map(toJson), null, 2) : vms.flatMap((each) => describe(each, dryRun)).join('\n'))
  if (vms.some(({ failed }) => failed !== undefined)) process.exitCode = 1
}

function toJson({ vmId, vmName, decisions, deleted, failed }: VmPruning): object {
  return {
    vmId,
    vmName,
    points: decisions.map(({ point, keep, reasons }) => ({
      restorePointId: point.restorePointId,
      takenAt: point.takenAt.toISOString(),
      keep,
      reasons,
      deleted: deleted.includes(point.restorePointId),
    })),
    ...(failed === undefined ? {} : { error: toErrorReport(failed) }),
  }
}

function describe({ vmId, vmName, decisions, deleted, failed }: VmPruning, dryRun: boolean): string[] {
  const lines = decisions.map(({ point, keep, reasons }) => {
    const stays = dryRun ? 'would be deleted' : 'stays for now'
    const gone = deleted.includes(point.restorePointId) ? 'deleted' : stays
    const what = keep ? `kept: ${reasons.map(sentence).join(', ')}` : gone
    return `  ${point.takenAt.toISOString()}  ${point.restorePointId}  ${what}`
  })
  const trouble = failed === undefined ? [] : [`  ${failed.code}: ${failed.message}`, `  ${failed.advice}`]
  return [`${vmName}  ${vmId}`, ...lines, ...trouble]
}

function sentence(reason: KeepReason): string {
  switch (reason.code) {
    case 'newest':
      return 'the newest'
    case 'newest-verified':
      return 'the newest that passed its verification'
    case 'held':
      return `held (${reason.why})`
    case 'locked':
      return `locked until ${reason.until.toISOString()}`
    case 'last':
    case 'hourly':
    case 'daily':
    case 'weekly':
    case 'monthly':
    case 'yearly':
      return `${reason.code} ${reason.period}`
    default:
      return reason satisfies never
  }
}

async function setHold(id: string, hold: string | undefined): Promise<void> {
  const restorePointId = parseId(id)
  await withCatalogue(async ({ catalogue, signal }) => {
    await catalogue.transaction(
      async (tx) => {
        if ((await tx.restorePoints.find(restorePointId)) === undefined) {
          const text = `the catalogue has no restore point ${restorePointId}`
          throw new PlatformError('repository.restore_point_not_found', text)
        }
        await tx.restorePoints.setHold(restorePointId, hold)
      },
      { signal },
    )
  })
  print(hold === undefined ? `${restorePointId} is released` : `${restorePointId} is held: ${hold}`)
}

/** Until the work is done or Ctrl-C or SIGTERM ends it; the database must answer soon, the repository may take long. */
async function withRepository<T>(work: (parts: DeletionParts, signal: AbortSignal) => Promise<T>): Promise<T> {
  const control = new AbortController()
  const stop = (): void => control.abort(new PlatformError('internal.cancelled', 'stopped by a signal'))
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  try {
    return await withCatalogue(async ({ catalogue, config }) => {
      await using repository = await openOwnRepository(config, { signal: control.signal })
      return await work({ catalogue, repository, clock: systemClock }, control.signal)
    })
  } finally {
    process.off('SIGINT', stop)
    process.off('SIGTERM', stop)
  }
}

function print(text: string): void {
  if (text !== '') process.stdout.write(`${text}\n`)
}

function parseId(text: string): string {
  if (z.uuid().safeParse(text).success) return text
  throw new InvalidArgumentError('an id, as the lists show it')
}

function parseCount(text: string): number {
  const count = Number(text)
  if (/^[0-9]+$/.test(text) && count <= 10_000) return count
  throw new InvalidArgumentError('a number from 0 to 10000')
}

function parseReason(text: string): string {
  if (text.trim() !== '' && text.length <= HOLD_CHARS_MAX) return text.trim()
  throw new InvalidArgumentError(`1 to ${HOLD_CHARS_MAX} characters`)
}

function wrongUse(text: string): PlatformError {
  return new PlatformError('input.invalid', `${text}; see sendense-edge repository prune --help`)
}
