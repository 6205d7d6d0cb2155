import process from 'node:process'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Command } from 'commander'
import { readConfig } from '../config.ts'
import {
  addServeOptions,
  readServeAddress,
  type ServeAddressOptions,
  serveExports,
  stopSignal,
} from './serve-exports.ts'
import { SERVE_HELP } from './serve-help.ts'
import { openServedFile, openServedRestorePoint, type ServedDisks } from './served-disks.ts'

interface ServeOptions extends ServeAddressOptions {
  readonly name?: string
  readonly restorePoint?: string
  readonly disk?: readonly string[]
}

/** Adds `serve`: disks for whoever speaks NBD, read-only. */
export function registerServeCommand(program: Command): void {
  const command = program
    .command('serve [file]')
    .summary('serve a raw file or a restore point over NBD, read-only')
    .description('Serves the disk in FILE, or the disks of a restore point, over NBD until it is stopped. Read-only.')
    .option('--restore-point <id>', 'serve the disks of this restore point, each under its id')
    .option('--disk <id>', 'of the restore point, only this disk; repeat for more', collect)
    .option('--name <name>', 'name of the export of FILE; default: the name of the file')
  addServeOptions(command).addHelpText('after', SERVE_HELP).action(serve)
}

async function serve(file: string | undefined, options: ServeOptions): Promise<void> {
  const address = await readServeAddress(options)
  const signal = stopSignal()
  await using disks = await openDisks(file, options, signal)
  await serveExports(disks.exports, address, { ...options, signal })
}

async function openDisks(
  file: string | undefined,
  { name, restorePoint, disk }: ServeOptions,
  signal: AbortSignal,
): Promise<ServedDisks> {
  if ((file === undefined) === (restorePoint === undefined)) {
    throw wrongUse('serve needs either a FILE or --restore-point')
  }
  if (file !== undefined) {
    if (disk !== undefined) throw wrongUse('--disk chooses among the disks of --restore-point')
    return await openServedFile(file, { name, signal })
  }
  if (name !== undefined) throw wrongUse('--name is for a FILE; the disks of a restore point have their own')
  const restorePointId = restorePoint ?? ''
  return await openServedRestorePoint(readConfig(process.env), { restorePointId, diskIds: disk, signal })
}

function collect(text: string, before: readonly string[] = []): string[] {
  return [...before, text]
}

function wrongUse(text: string): PlatformError {
  return new PlatformError('input.invalid', `${text}; see sendense-edge serve --help`)
}
