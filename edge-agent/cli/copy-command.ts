import process from 'node:process'
import { parseByteSize } from '@sendense/shared/domain/byte-size.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Command, InvalidArgumentError } from 'commander'
import type { NbdEndpoint } from '../block/block-endpoint.ts'
import { createThreadEnvironment } from '../mover/copy-environment.ts'
import { type CopyProgress, noCheckpoint, noProgress } from '../mover/mover.ts'
import { PauseSwitch } from '../mover/pause-switch.ts'
import { SharedThrottle } from '../mover/rate/shared-throttle.ts'
import { ErrorRoles } from '../mover/threads/error-roles.ts'
import type { MoverTask } from '../mover/threads/mover-task.ts'
import { runMoverTask } from '../mover/threads/run-mover-task.ts'
import { parseNbdUri } from '../nbd/nbd-uri.ts'
import { readTlsDirectory } from '../nbd/tls-directory.ts'
import { CopyCheckpointFile, type CopyIdentity } from './copy-checkpoint-file.ts'
import { COPY_HELP } from './copy-help.ts'
import { CopyReport } from './copy-report.ts'

/** As a shell names a program that Ctrl-C ended. */
const EXIT_INTERRUPTED = 130
const FINISH_TIMEOUT_MS = 5000
const BUFFER_BYTES = 16 * 1024 * 1024
const NOWHERE = 'null:'

interface CopyCommandOptions {
  readonly targetIsZero?: boolean
  readonly detectZeroes?: boolean
  readonly dirtyBitmap?: string
  readonly rate?: number
  readonly connections?: number
  readonly checkpoint?: string
  readonly checkpointEvery?: number
  readonly tlsCertificates?: string
  readonly targetTlsCertificates?: string
  readonly json?: boolean
  readonly quiet?: boolean
}

/** Adds `copy`: one disk to another over NBD, with the mover itself. */
export function registerCopyCommand(program: Command): void {
  program
    .command('copy <src> <dst>')
    .summary('copy a disk from one NBD export to another')
    .description(
      'Copies the disk SRC to DST over NBD: holes are not read, zeros are not sent, and it can go on after any end.',
    )
    .option('--target-is-zero', 'DST reads as zeros now: write nothing where zeros go')
    .option('--detect-zeroes', 'look for zeros in what is read, and write them as zeros')
    .option('--dirty-bitmap <name>', 'copy only what this bitmap of SRC (QEMU) says')
    .option('--rate <bytes>', 'read at most so many bytes a second; 512K, 50M, 1.5G', parseSize)
    .option('--connections <count>', 'to each side at most; default: up to 4, by size and server', parseConnections)
    .option('--checkpoint <file>', 'keep in FILE where to go on, and go on from there')
    .option('--checkpoint-every <bytes>', 'how much may have to be copied again; default: 1G', parseSize)
    .option('--tls-certificates <dir>', 'for nbds: ca-cert.pem, and client-cert.pem and client-key.pem if asked for')
    .option('--target-tls-certificates <dir>', 'the same for DST, where it has others')
    .option('--quiet', 'say nothing before the end')
    .option('--json', 'print JSON lines')
    .addHelpText('after', COPY_HELP)
    .action(copy)
}

async function copy(src: string, dst: string, options: CopyCommandOptions): Promise<void> {
  const task = await toTask(src, dst, options)
  const report = new CopyReport({ json: options.json === true, quiet: options.quiet === true })
  const file = openCheckpointFile(src, dst, options, report)
  const resumeFrom = (await file?.read()) ?? noCheckpoint
  if (resumeFrom.offsetBytes > 0) report.resuming(resumeFrom.offsetBytes)
  const pause = new PauseSwitch()
  const stop = stopOnSignal(pause)
  let last: CopyProgress = { ...noProgress, checkpoint: resumeFrom }
  const onProgress = (progress: CopyProgress): void => {
    last = progress
    file?.note(progress.checkpoint)
    if (progress.state === 'paused') stop.finish()
    else report.progress(progress)
  }
  const environment = createThreadEnvironment(new SharedArrayBuffer(BUFFER_BYTES))
  const how = { signal: stop.signal, pause, onProgress, roles: new ErrorRoles(), environment }
  try {
    const end = await runMoverTask({ ...task, resumeFrom }, how)
    await file?.settle()
    await file?.delete()
    report.done(end)
  } catch (error) {
    report.clear()
    if (!stop.signal.aborted) throw error
    await file?.settle()
    report.cancelled(last, options.checkpoint)
    process.exitCode = EXIT_INTERRUPTED
  } finally {
    stop[Symbol.dispose]()
  }
}

function openCheckpointFile(
  src: string,
  dst: string,
  options: CopyCommandOptions,
  report: CopyReport,
): CopyCheckpointFile | undefined {
  if (options.checkpoint === undefined) return undefined
  return new CopyCheckpointFile(options.checkpoint, identityOf(src, dst, options), {
    onKept: (checkpoint) => report.checkpoint(checkpoint),
    onFailed: (error) => report.checkpointFailed(error),
  })
}

async function toTask(
  src: string,
  dst: string,
  options: CopyCommandOptions,
): Promise<Extract<MoverTask, { kind: 'disk' }>> {
  const {
    targetIsZero,
    detectZeroes,
    dirtyBitmap,
    rate,
    connections,
    checkpointEvery,
    tlsCertificates,
    targetTlsCertificates,
  } = options
  const source = await parseEndpoint(src, tlsCertificates)
  const sink = dst === NOWHERE ? undefined : await parseEndpoint(dst, targetTlsCertificates ?? tlsCertificates)
  const own = connections === undefined ? {} : { connections }
  const dirtyContext = dirtyBitmap === undefined ? {} : { dirtyContext: `qemu:dirty-bitmap:${dirtyBitmap}` }
  return {
    kind: 'disk',
    source: { ...source, ...own, ...dirtyContext },
    ...(sink === undefined ? {} : { sink: { ...sink, ...own } }),
    ...(targetIsZero === undefined ? {} : { sinkIsZero: targetIsZero }),
    ...(detectZeroes === undefined ? {} : { detectZeroes }),
    ...(dirtyBitmap === undefined ? {} : { dirtyOnly: true }),
    ...(checkpointEvery === undefined ? {} : { checkpointEveryBytes: checkpointEvery }),
    diskId: src,
    throttles: rate === undefined ? [] : [SharedThrottle.at(rate).memory],
  }
}

/** Certificates are only for URIs that ask for TLS. */
async function parseEndpoint(uri: string, certificates: string | undefined): Promise<NbdEndpoint> {
  if (!/^nbds/i.test(uri) || certificates === undefined) return parseNbdUri(uri)
  return parseNbdUri(uri, { tls: await readTlsDirectory(certificates) })
}

function identityOf(source: string, target: string, options: CopyCommandOptions): CopyIdentity {
  const { targetIsZero = false, detectZeroes = false, dirtyBitmap } = options
  return { source, target, targetIsZero, detectZeroes, ...(dirtyBitmap === undefined ? {} : { dirtyBitmap }) }
}

interface Stop extends Disposable {
  readonly signal: AbortSignal
  /** All that had begun is flushed. */
  finish(): void
}

/** The first Ctrl-C or SIGTERM pauses the copy, so that it ends at a checkpoint; the second ends the process at once. */
function stopOnSignal(pause: PauseSwitch): Stop {
  const control = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const finish = (): void => control.abort(new PlatformError('internal.cancelled', 'cancelled by a signal'))
  const onSignal = (): void => {
    if (timer !== undefined) process.exit(EXIT_INTERRUPTED)
    pause.pause()
    timer = setTimeout(finish, FINISH_TIMEOUT_MS)
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  return {
    signal: control.signal,
    finish,
    [Symbol.dispose]: () => {
      clearTimeout(timer)
      process.off('SIGINT', onSignal)
      process.off('SIGTERM', onSignal)
    },
  }
}

function parseSize(text: string): number {
  const bytes = parseByteSize(text)
  if (bytes !== undefined && bytes >= 1) return bytes
  throw new InvalidArgumentError('a size like 4096, 512K, 50M or 1.5G')
}

function parseConnections(text: string): number {
  const count = Number(text)
  if (Number.isInteger(count) && count >= 1 && count <= 16) return count
  throw new InvalidArgumentError('a number from 1 to 16')
}
