import process from 'node:process'
import { formatByteSize } from '@sendense/shared/domain/byte-size.ts'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Command } from 'commander'
import type { CallOptions } from '../block/block-source.ts'
import { stopSignal } from '../cli/serve-exports.ts'
import type { SealedManifest } from '../repository/restore-point-manifest.ts'
import { addArchiveOptions, type ArchiveOptions, openNamedArchive } from './archive-options.ts'
import type { Archive } from './archive.ts'
import { exitCodes } from './exit-codes.ts'
import { findPoint } from './find-point.ts'
import { VERIFY_HELP } from './help-texts.ts'
import { LostRanges } from './lost-ranges.ts'
import { localTime } from './output/plain-text.ts'
import { Report } from './output/report.ts'
import { verifyDisk, VerifiedChunks } from './verify-disk.ts'

/** Adds `verify`: whether what there is can be restored. */
export function registerVerifyCommand(program: Command): void {
  const command = program
    .command('verify <storage> [restore-point...]')
    .description('Checks signatures, files and every chunk of restore points; of all, unless some are named.')
    .option('--json', 'print JSON lines')
  addArchiveOptions(command).addHelpText('after', VERIFY_HELP).action(verify)
}

async function verify(storage: string, meant: readonly string[], options: ArchiveOptions): Promise<void> {
  const signal = stopSignal()
  const report = new Report(options)
  await using archive = await openNamedArchive(storage, options, { signal, report })
  const points = await archive.listRestorePoints({ signal })
  const wanted =
    meant.length === 0 ? points.map(({ manifest }) => manifest) : meant.map((text) => findPoint(points, text))
  const known = new VerifiedChunks()
  let damagedCount = 0
  for (const found of wanted) {
    const isGood = await verifyPoint(archive, found, { signal, report, known })
    if (!isGood) damagedCount += 1
  }
  const text =
    damagedCount === 0
      ? `all ${wanted.length} restore points are good`
      : `${damagedCount} of ${wanted.length} restore points are damaged`
  report.say({ event: 'done', restorePoints: wanted.length, damaged: damagedCount }, text)
  if (damagedCount > 0) process.exitCode = exitCodes.damaged
}

interface VerifyOptions extends CallOptions {
  readonly report: Report
  readonly known: VerifiedChunks
}

async function verifyPoint(
  archive: Archive,
  found: SealedManifest | PlatformError,
  { signal, report, known }: VerifyOptions,
): Promise<boolean> {
  if (found instanceof PlatformError) {
    report.say(
      { event: 'damaged', code: found.code, message: found.message, ...found.details },
      `DAMAGED  ${found.message}`,
    )
    return false
  }
  const { restorePointId, vmName, takenAt } = found.manifest
  const name = `${vmName} of ${localTime(takenAt)} (${restorePointId})`
  const onWarning = (text: string): void => report.warn(text)
  try {
    await using point = await archive.openRestorePoint(found, { signal, skipDamaged: true, onWarning })
    const lost = new LostRanges()
    report.begin()
    let checkedBytes = 0
    for (const disk of point.disks.values()) {
      checkedBytes += await verifyDisk(disk, { idKey: archive.idKey, lost, known, signal }, (bytes, total) =>
        report.progress(`${vmName} ${disk.diskId}`, bytes, total),
      )
    }
    for (const range of lost.list()) report.lost(range)
    const isGood = lost.list().length === 0
    const { missing, count } = point.files
    for (const file of missing) report.say({ event: 'file-missing', file }, `missing or unreadable: ${file}`)
    const facts = { restorePointId, vmName, takenAt, files: count, filesMissing: missing.length, checkedBytes }
    const amount = `${count} files, ${report.speed(checkedBytes)} checked`
    const verdict = isGood
      ? `good     ${name}: ${amount}`
      : `DAMAGED  ${name}: ${formatByteSize(lost.lostBytes)} missing; ${amount}`
    report.say({ event: isGood ? 'good' : 'damaged', ...facts, lostBytes: lost.lostBytes }, verdict)
    return isGood
  } catch (error) {
    signal.throwIfAborted()
    if (!isPlatformError(error) || !error.code.startsWith('repository.')) throw error
    report.say(
      { event: 'damaged', restorePointId, code: error.code, message: error.message },
      `DAMAGED  ${name}: ${error.message}`,
    )
    return false
  }
}
