import { mkdtemp, open, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemCode } from '@sendense/shared/runtime/system-code.ts'
import type { BlockSource } from '../block/block-source.ts'
import { formatNbdUri } from '../nbd/nbd-uri.ts'
import { NbdServer } from '../nbd/server/nbd-server.ts'
import { expectSuccess } from '../qemu/qemu-img.ts'
import type { ExtractOptions } from './extract-raw.ts'
import { expectFree, syncDirectory, writing } from './raw-output.ts'

const REQUESTS_AT_ONCE = 16

/**
 * Writes a disk to a QCOW2 image with qemu-img, to which it is served over NBD. Durable and under its name when this
 * resolves; when it rejects there is no such file.
 * Rejects as the source, and with `input.invalid`, `qemu.start_failed` where qemu-img is not installed,
 * `qemu.command_failed`, `target.no_space`, `target.write_failed`.
 */
export async function extractQcow2(source: BlockSource, options: ExtractOptions): Promise<void> {
  const { file, force, signal } = options
  if (await expectFree(file, force)) throw new PlatformError('input.invalid', `${file} is a device: write it raw`)
  const partial = `${file}.partial`
  const runtimeDir = await mkdtemp(path.join(tmpdir(), 'sendense-restore-'))
  try {
    await convert(watched(source, options.onBytes), partial, runtimeDir, options)
    await writing(file, async () => {
      await syncFile(partial)
      await rename(partial, file)
      await syncDirectory(path.dirname(file))
    })
  } catch (error) {
    await rm(partial, { force: true })
    signal.throwIfAborted()
    throw error
  } finally {
    await rm(runtimeDir, { recursive: true, force: true })
  }
}

interface WatchedSource extends BlockSource {
  /** What reading failed with first: the reader over NBD only hears that it failed. */
  failure(): { readonly error: unknown } | undefined
}

function watched(source: BlockSource, onBytes: (bytes: number) => void): WatchedSource {
  let failed: { readonly error: unknown } | undefined
  return {
    sizeBytes: source.sizeBytes,
    extents: (range, call) => source.extents(range, call),
    read: async (offsetBytes, into, call) => {
      try {
        await source.read(offsetBytes, into, call)
        onBytes(into.length)
      } catch (error) {
        if (!call.signal.aborted) failed ??= { error }
        throw error
      }
    },
    failure: () => failed,
    [Symbol.asyncDispose]: async () => undefined,
  }
}

async function convert(
  source: WatchedSource,
  target: string,
  runtimeDir: string,
  { signal }: ExtractOptions,
): Promise<void> {
  await using server = new NbdServer({ tls: 'off' })
  server.addExport({ name: 'disk', source })
  const address = await server.listen({ transport: 'unix', path: path.join(runtimeDir, 'disk.sock') })
  const uri = formatNbdUri({ kind: 'nbd', address, exportName: 'disk' })
  const how = ['-f', 'raw', '-O', 'qcow2', '-t', 'writeback', '-W', '-m', String(REQUESTS_AT_ONCE)]
  try {
    await expectSuccess(['convert', ...how, uri, target], { signal })
  } catch (error) {
    signal.throwIfAborted()
    const failed = source.failure()
    if (failed !== undefined) throw failed.error
    throw isPlatformError(error, 'qemu.start_failed') ? programMissing('qemu-img', error) : error
  }
}

/** The error itself, or one that names the package where the program is not installed. */
export function programMissing(program: 'qemu-img' | 'qemu-storage-daemon', error: PlatformError): PlatformError {
  const isMissing = systemCode(error.cause) === 'ENOENT' || /ENOENT|failed to execute/.test(error.message)
  if (!isMissing) return error
  const orElse = program === 'qemu-img' ? ', or extract with --format raw' : ': it reads chains of QCOW2 files'
  const packages =
    program === 'qemu-img'
      ? 'qemu-utils (Debian, Ubuntu) or qemu-img (Fedora, RHEL, SUSE: qemu-tools)'
      : 'qemu-system-common (Debian 12), qemu-utils (Debian 13, Ubuntu) or qemu-img (Fedora, RHEL)'
  const text = `${program} is not installed: install the package ${packages}${orElse}`
  return new PlatformError('qemu.start_failed', text, { cause: error })
}

async function syncFile(file: string): Promise<void> {
  const handle = await open(file, 'r+')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
