import process from 'node:process'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { toErrorReport } from '@sendense/shared/errors/to-error-report.ts'
import { type Command, InvalidArgumentError } from 'commander'
import { z } from 'zod'
import { readConfig } from '../config.ts'
import { createMover } from '../mover/create-mover.ts'
import { CHUNK_DISK_OPENER } from '../repository/chunk-store/chunk-disk-address.ts'
import { COPIED_DISK_OPENER } from '../repository/copy/copied-disk-address.ts'
import type { CopyMeans } from '../repository/copy/copy-disks.ts'
import { copyMissing, type CopyResult, type CopySummary, type SetProgress } from '../repository/copy/copy-missing.ts'
import { copyRestorePoint } from '../repository/copy/copy-restore-point.ts'
import type { Repository } from '../repository/repository.ts'
import { findRepository } from './find-repository.ts'
import { REPOSITORY_COPY_HELP } from './repository-copy-help.ts'

const EXIT_INTERRUPTED = 130
const openers = {
  [CHUNK_DISK_OPENER]: new URL('../repository/chunk-store/chunk-disk-opener.ts', import.meta.url).href,
  [COPIED_DISK_OPENER]: new URL('../repository/copy/copied-disk-opener.ts', import.meta.url).href,
}

interface CopyOptions {
  readonly from: string
  readonly to: string
  readonly vm?: string
  readonly restorePoint?: string
  readonly json?: boolean
}

/** Adds `copy` to the commands of repositories. */
export function registerRepositoryCopyCommand(repository: Command): void {
  repository
    .command('copy')
    .description('copy restore points to another repository: what it lacks, checked')
    .requiredOption('--from <repository>', 'where they are')
    .requiredOption('--to <repository>', 'where they are to be too')
    .option('--vm <id>', 'only those of one VM', parseId)
    .option('--restore-point <id>', 'only this one', parseId)
    .option('--json', 'print JSON, one line a restore point')
    .addHelpText('after', REPOSITORY_COPY_HELP)
    .action(copy)
}

async function copy({ from, to, vm, restorePoint, json = false }: CopyOptions): Promise<void> {
  const config = readConfig(process.env)
  const control = new AbortController()
  const stop = (): void => control.abort(new PlatformError('internal.cancelled', 'stopped by a signal'))
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  const { signal } = control
  try {
    await using source = await (await findRepository(config, from)).open({ signal })
    await using target = await (await findRepository(config, to)).open({ signal })
    await using mover = createMover({ openers, ...config.mover })
    const means = { mover, openers }
    const onResult = (result: CopyResult): void => print(json ? toJson(result) : describe(result))
    const summary =
      restorePoint === undefined
        ? await copyMissing(source, target, vm === undefined ? {} : { vmId: vm }, {
            ...means,
            signal,
            onResult,
            onProgress: (progress) => showProgress(progress),
          })
        : await copyOne(source, target, restorePoint, { ...means, signal, onResult })
    clearProgress()
    print(json ? toSummaryJson(summary) : describeSummary(summary))
    if (summary.failed > 0 || summary.damage !== undefined) process.exitCode = 1
  } catch (error) {
    clearProgress()
    if (!signal.aborted) throw error
    process.stderr.write('stopped; say the same again to go on\n')
    process.exitCode = EXIT_INTERRUPTED
  } finally {
    process.off('SIGINT', stop)
    process.off('SIGTERM', stop)
  }
}

/** Rejects where it cannot be copied. */
async function copyOne(
  source: Repository,
  target: Repository,
  restorePointId: string,
  { onResult, ...means }: CopyMeans & { readonly signal: AbortSignal; readonly onResult: (result: CopyResult) => void },
): Promise<CopySummary> {
  const copied = await copyRestorePoint(source, target, restorePointId, means)
  const { vmId, vmName, takenAt } = copied.sealed.manifest
  onResult({ restorePointId, vmId, vmName, takenAt, ...copied })
  return { copied: 0, present: 0, gone: 0, failed: 0, [copied.outcome]: 1 }
}

function toJson(result: CopyResult): string {
  const { restorePointId, vmId, vmName, takenAt, outcome } = result
  const facts = { restorePointId, vmId, vmName, takenAt, outcome }
  switch (result.outcome) {
    case 'copied': {
      const { disks } = result.sealed.manifest
      const each = disks.map(({ diskId, reason, readBytes, storedBytes }) => ({
        diskId,
        reason,
        readBytes,
        storedBytes,
      }))
      return JSON.stringify({ ...facts, disks: each, doubts: result.doubts })
    }
    case 'failed':
      return JSON.stringify({ ...facts, error: toErrorReport(result.error) })
    case 'present':
    case 'gone':
      return JSON.stringify(facts)
    default:
      return result satisfies never
  }
}

function describe(result: CopyResult): string {
  const name = `${result.takenAt}  ${result.vmName}  ${result.restorePointId}`
  switch (result.outcome) {
    case 'copied': {
      const { disks } = result.sealed.manifest
      const readBytes = disks.reduce((sum, disk) => sum + disk.readBytes, 0)
      const storedBytes = disks.reduce((sum, disk) => sum + disk.storedBytes, 0)
      const moved = `copied: ${formatByteSize(readBytes)} read, ${formatByteSize(storedBytes)} stored`
      return [`${name}  ${moved}`, ...result.doubts.map((doubt) => `  ${doubt}`)].join('\n')
    }
    case 'present':
      return `${name}  is there`
    case 'gone':
      return `${name}  was deleted meanwhile`
    case 'failed':
      return [
        `${name}  not copied`,
        `  ${result.error.code}: ${result.error.message}`,
        `  ${result.error.advice}`,
      ].join('\n')
    default:
      return result satisfies never
  }
}

function toSummaryJson({ copied, present, gone, failed, damage }: CopySummary): string {
  const error = damage === undefined ? {} : { damage: toErrorReport(damage) }
  return JSON.stringify({ summary: { copied, present, gone, failed, ...error } })
}

function describeSummary({ copied, present, failed, damage }: CopySummary): string {
  const counts = `${copied} copied, ${present} were there${failed === 0 ? '' : `, ${failed} failed`}`
  return damage === undefined ? counts : `${counts}; not all could be listed: ${damage.message}`
}

/** One line that is written over, for whoever watches. */
function showProgress({ pointsDone, pointsTotal, current }: SetProgress): void {
  if (!process.stderr.isTTY) return
  const each = current.map(({ vmName, doneBytes, plannedBytes, bytesPerSecond }) => {
    return `${vmName} ${formatByteSize(doneBytes)} of ${formatByteSize(plannedBytes)}, ${formatByteSize(bytesPerSecond)}/s`
  })
  process.stderr.write(`\r\u001B[K${[`${pointsDone} of ${pointsTotal}`, ...each].join(' · ')}`)
}

function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\u001B[K')
}

function print(text: string): void {
  clearProgress()
  process.stdout.write(`${text}\n`)
}

function parseId(text: string): string {
  if (z.uuid().safeParse(text).success) return text
  throw new InvalidArgumentError('an id, as the lists show it')
}
