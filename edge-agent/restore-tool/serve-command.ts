import process from 'node:process'
import type { Command } from 'commander'
import {
  addServeOptions,
  readServeAddress,
  type ServeAddressOptions,
  serveExports,
  stopSignal,
} from '../cli/serve-exports.ts'
import { addArchiveOptions, type ArchiveOptions, openNamedArchive } from './archive-options.ts'
import { chooseDisks } from './choose-disks.ts'
import { exitCodes } from './exit-codes.ts'
import { findPoint } from './find-point.ts'
import { SERVE_HELP } from './help-texts.ts'
import { LostRanges } from './lost-ranges.ts'
import { localTime } from './output/plain-text.ts'
import { Report } from './output/report.ts'
import { salvagedSource } from './salvaged-source.ts'

interface ServeOptions extends ArchiveOptions, Omit<ServeAddressOptions, 'json'> {
  readonly disk?: readonly string[]
  readonly skipDamaged?: boolean
}

/** Adds `serve`: disks of a restore point at once, without copying them first. */
export function registerServeCommand(program: Command): void {
  const command = program
    .command('serve <storage> <restore-point>')
    .description('Serves the disks of a restore point over NBD, read-only, until it is stopped.')
    .option('--disk <id>', 'only this disk; repeat for more', collect)
    .option('--skip-damaged', 'serve zeros where data is missing, and list where; exit status 2 where that happened')
  addArchiveOptions(addServeOptions(command)).addHelpText('after', SERVE_HELP).action(serve)
}

async function serve(storage: string, meant: string, options: ServeOptions): Promise<void> {
  const { skipDamaged = false } = options
  const address = await readServeAddress(options)
  const signal = stopSignal()
  const report = new Report(options)
  await using archive = await openNamedArchive(storage, options, { signal, report })
  const sealed = findPoint(await archive.listRestorePoints({ signal }), meant)
  const onWarning = (text: string): void => report.warn(text)
  await using point = await archive.openRestorePoint(sealed, { signal, skipDamaged, onWarning })
  const lost = new LostRanges((range) => report.lost(range))
  const { vmName, takenAt } = sealed.manifest
  const exports = chooseDisks(point, options.disk).map((disk) => ({
    name: disk.diskId,
    description: `${vmName} of ${localTime(takenAt)}, ${disk.diskId}`,
    source: salvagedSource(disk, { idKey: archive.idKey, ...(skipDamaged ? { lost } : {}) }),
  }))
  await serveExports(exports, address, { ...options, signal })
  if (lost.count > 0) process.exitCode = exitCodes.damaged
}

function collect(text: string, before: readonly string[] = []): string[] {
  return [...before, text]
}
