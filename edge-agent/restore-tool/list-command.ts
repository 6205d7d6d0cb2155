import process from 'node:process'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Command } from 'commander'
import { stopSignal } from '../cli/serve-exports.ts'
import { addArchiveOptions, type ArchiveOptions, openNamedArchive } from './archive-options.ts'
import type { FoundPoint } from './archive.ts'
import { exitCodes } from './exit-codes.ts'
import { LIST_HELP } from './help-texts.ts'
import { localTime, localZone, textTable } from './output/plain-text.ts'
import { Report } from './output/report.ts'

interface ListOptions extends ArchiveOptions {
  readonly vm?: string
}

/** Adds `list`: which restore points there are. */
export function registerListCommand(program: Command): void {
  const command = program
    .command('list <storage>')
    .description('Lists VMs, their restore points and disks. Nothing is changed.')
    .option('--vm <name>', 'only those of this VM, by its name or its id')
    .option('--json', 'print one JSON object')
  addArchiveOptions(command).addHelpText('after', LIST_HELP).action(list)
}

async function list(storage: string, options: ListOptions): Promise<void> {
  const signal = stopSignal()
  const report = new Report({})
  await using archive = await openNamedArchive(storage, options, { signal, report })
  const { vm } = options
  const points = (await archive.listRestorePoints({ signal })).filter((point) => vm === undefined || isOf(point, vm))
  const { repositoryId, kind, description } = archive
  const facts = { repositoryId, kind, storage: description, restorePoints: points.map((point) => factsOf(point)) }
  const text = options.json === true ? JSON.stringify(facts, null, 2) : describe(facts, points)
  process.stdout.write(`${text}\n`)
  if (points.some(({ manifest }) => manifest instanceof PlatformError)) process.exitCode = exitCodes.damaged
}

function isOf({ vmId, manifest }: FoundPoint, vm: string): boolean {
  return vmId === vm || (!(manifest instanceof PlatformError) && manifest.manifest.vmName === vm)
}

function factsOf({ vmId, restorePointId, manifest }: FoundPoint): object {
  if (manifest instanceof PlatformError) {
    return { vmId, restorePointId, error: { code: manifest.code, message: manifest.message } }
  }
  return {
    ...manifest.manifest,
    disks: manifest.manifest.disks.map(({ diskId, sizeBytes }) => ({ diskId, sizeBytes })),
  }
}

function describe(
  { repositoryId, kind, storage }: { readonly repositoryId: string; readonly kind: string; readonly storage: string },
  points: readonly FoundPoint[],
): string {
  const head = `Repository ${repositoryId}, ${kind}, in ${storage}`
  if (points.length === 0) return `${head}\n\nNo restore points.`
  const rows = points.toSorted(byVm).map((point) => rowOf(point))
  return `${head}\n\n${textTable(['VM', 'RESTORE POINT', `TAKEN (${localZone()})`, 'CONSISTENCY', 'DISKS'], rows)}`
}

function rowOf({ vmId, restorePointId, manifest: found }: FoundPoint): readonly string[] {
  if (found instanceof PlatformError) return [vmId, restorePointId, '–', '–', `not to be believed: ${found.message}`]
  const { vmName, takenAt, consistency, disks } = found.manifest
  const sizes = disks.map(({ diskId, sizeBytes }) => `${diskId} ${formatByteSize(sizeBytes)}`)
  return [vmName, restorePointId, localTime(takenAt), consistency, sizes.join(', ')]
}

/** Keeps the order in time within a VM. */
function byVm(left: FoundPoint, right: FoundPoint): number {
  const [one, other] = [nameOf(left), nameOf(right)]
  return one === other ? 0 : one < other ? -1 : 1
}

function nameOf({ vmId, manifest }: FoundPoint): string {
  return manifest instanceof PlatformError ? `\uFFFF${vmId}` : `${manifest.manifest.vmName} ${vmId}`
}
