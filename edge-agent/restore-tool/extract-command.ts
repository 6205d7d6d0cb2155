import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import process from 'node:process'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Command, Option } from 'commander'
import type { CallOptions } from '../block/block-source.ts'
import { stopSignal } from '../cli/serve-exports.ts'
import { addArchiveOptions, type ArchiveOptions, openNamedArchive } from './archive-options.ts'
import type { ArchivedDisk, ArchivedPoint } from './archive.ts'
import { chooseDisks } from './choose-disks.ts'
import { exitCodes } from './exit-codes.ts'
import { extractQcow2 } from './extract-qcow2.ts'
import { extractRaw } from './extract-raw.ts'
import { findPoint } from './find-point.ts'
import { EXTRACT_HELP } from './help-texts.ts'
import { LostRanges } from './lost-ranges.ts'
import { localTime } from './output/plain-text.ts'
import { Report } from './output/report.ts'
import { writing } from './raw-output.ts'
import { salvagedSource } from './salvaged-source.ts'
import { dataBytesOf } from './verify-disk.ts'

interface ExtractCommandOptions extends ArchiveOptions {
  readonly output?: string
  readonly outputDir?: string
  readonly disk?: readonly string[]
  readonly format: 'raw' | 'qcow2'
  readonly skipDamaged?: boolean
  readonly force?: boolean
}

/** Adds `extract`: disks of a restore point as images. */
export function registerExtractCommand(program: Command): void {
  const command = program
    .command('extract <storage> <restore-point>')
    .description('Writes the disks of a restore point to images, every chunk checked against its hash.')
    .option(
      '--output-dir <dir>',
      'write each disk to DIR/<disk>.<format>, and what the VM was to DIR/restore-point.json',
    )
    .option('--output <file>', 'write the one disk to this file or block device')
    .option('--disk <id>', 'only this disk; repeat for more', collect)
    .addOption(new Option('--format <format>', 'of the images').choices(['raw', 'qcow2']).default('raw'))
    .option('--skip-damaged', 'write zeros where data is missing, and list where; exit status 2')
    .option('--force', 'replace images that are there; write to a block device')
    .option('--json', 'print JSON lines')
  addArchiveOptions(command).addHelpText('after', EXTRACT_HELP).action(extract)
}

async function extract(storage: string, meant: string, options: ExtractCommandOptions): Promise<void> {
  const { output, outputDir, skipDamaged = false } = options
  if ((output === undefined) === (outputDir === undefined)) {
    throw new PlatformError('input.invalid', 'extract needs either --output-dir or --output; see --help')
  }
  const signal = stopSignal()
  const report = new Report(options)
  await using archive = await openNamedArchive(storage, options, { signal, report })
  const sealed = findPoint(await archive.listRestorePoints({ signal }), meant)
  const onWarning = (text: string): void => report.warn(text)
  await using point = await archive.openRestorePoint(sealed, { signal, skipDamaged, onWarning })
  const { vmName, takenAt, restorePointId } = sealed.manifest
  report.say(
    { event: 'restore-point', restorePointId, vmName, takenAt },
    `${vmName} of ${localTime(takenAt)}, restore point ${restorePointId}`,
  )
  const disks = chooseDisks(point, options.disk)
  if (output !== undefined && disks.length !== 1) {
    const text = `--output takes one disk, and ${disks.length} were meant: choose with --disk, or use --output-dir`
    throw new PlatformError('input.invalid', text)
  }
  if (outputDir !== undefined) await writing(outputDir, async () => await mkdir(outputDir, { recursive: true }))
  const lost = new LostRanges((range) => report.lost(range))
  for (const disk of disks) {
    const file = path.resolve(output ?? path.join(outputDir ?? '.', `${disk.diskId}.${options.format}`))
    const source = salvagedSource(disk, { idKey: archive.idKey, ...(skipDamaged ? { lost } : {}) })
    await extractDisk({ disk, source, file }, { options, report, signal })
  }
  if (outputDir !== undefined) await writeFacts(path.join(outputDir, 'restore-point.json'), point, lost)
  finish(lost, report)
}

interface ExtractedDisk {
  readonly disk: ArchivedDisk
  readonly source: ReturnType<typeof salvagedSource>
  readonly file: string
}

async function extractDisk(
  { disk, source, file }: ExtractedDisk,
  { options, report, signal }: CallOptions & { readonly options: ExtractCommandOptions; readonly report: Report },
): Promise<void> {
  const totalBytes = await dataBytesOf(disk, { signal })
  report.begin()
  const write = options.format === 'qcow2' ? extractQcow2 : extractRaw
  const onBytes = (bytes: number): void => report.progress(disk.diskId, bytes, totalBytes)
  await write(source, { file, force: options.force === true, onBytes, signal })
  const { diskId } = disk
  const facts = { event: 'extracted', diskId, file, sizeBytes: source.sizeBytes, dataBytes: totalBytes }
  report.say(facts, `${diskId}: ${file}, ${formatByteSize(source.sizeBytes)}; ${report.speed(totalBytes)}`)
}

/** What the VM was, for who makes a new one around the disks; and what is missing of them. */
async function writeFacts(file: string, { sealed }: ArchivedPoint, lost: LostRanges): Promise<void> {
  const { manifest } = sealed
  const disks = manifest.disks.map(({ diskId, sizeBytes }) => ({ diskId, sizeBytes }))
  const { restorePointId, vmId, vmName, platform, takenAt, consistency, memoryBytes, cpuCount, definition } = manifest
  const vm = { restorePointId, vmId, vmName, platform, takenAt, consistency, memoryBytes, cpuCount, definition, disks }
  const text = `${JSON.stringify({ ...vm, missing: lost.list() }, null, 2)}\n`
  await writing(file, async () => await writeFile(file, text, { mode: 0o600 }))
}

function finish(lost: LostRanges, report: Report): void {
  const ranges = lost.list()
  const { lostBytes } = lost
  if (ranges.length === 0) {
    report.say({ event: 'done', lostBytes: 0 }, 'done: every chunk was checked and is what was backed up')
    return
  }
  const text = `done, BUT ${formatByteSize(lostBytes)} in ${ranges.length} ranges are missing and were filled with zeros:`
  report.say({ event: 'done', lostBytes, missing: ranges }, text)
  for (const { diskId, offsetBytes, lengthBytes } of ranges) {
    report.say(
      { event: 'missing-range', diskId, offsetBytes, lengthBytes },
      `  ${diskId}  ${offsetBytes}  ${lengthBytes}`,
    )
  }
  process.exitCode = exitCodes.damaged
}

function collect(text: string, before: readonly string[] = []): string[] {
  return [...before, text]
}
