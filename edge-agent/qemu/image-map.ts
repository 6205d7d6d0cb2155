import { execFile } from 'node:child_process'
import type { Extent } from '@sendense/shared/domain/extent.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import type { CallOptions } from '../block/block-source.ts'

/** Half a million extents; a file in more pieces than that is not worth the list. */
const OUTPUT_MAX_BYTES = 64 * 1024 * 1024

/** What `qemu-img map --output=json` says of one extent (qemu-img(1), "map"). */
const MappedExtents = z.array(z.object({ start: z.int().min(0), length: z.int().min(1), zero: z.boolean() }))

/**
 * The ranges of a raw file that read as zeros for certain, in order: its holes, as the file system tells them.
 * Rejects with `qemu.start_failed`, `qemu.command_failed` also where the list is too long, or the signal's reason.
 */
export async function zeroRangesOfRawFile(path: string, { signal }: CallOptions): Promise<Extent[]> {
  signal.throwIfAborted()
  const image = `json:${JSON.stringify({ driver: 'raw', file: { driver: 'file', filename: path } })}`
  const output = await runMap(image, signal)
  const extents = MappedExtents.safeParse(JSON.parse(output))
  if (!extents.success) {
    throw new PlatformError('qemu.command_failed', `qemu-img map answers ${extents.error.message}`)
  }
  return extents.data
    .filter(({ zero }) => zero)
    .map(({ start, length }) => ({ offsetBytes: start, lengthBytes: length }))
}

async function runMap(image: string, signal: AbortSignal): Promise<string> {
  return await new Promise<string>((resolve, reject) => {
    const options = { signal, encoding: 'utf8', maxBuffer: OUTPUT_MAX_BYTES, killSignal: 'SIGKILL' } as const
    execFile('qemu-img', ['map', '--force-share', '--output=json', image], options, (error, stdout, stderr) => {
      if (signal.aborted) reject(signal.reason)
      else if (error === null) resolve(stdout)
      else if (typeof error.code === 'number') {
        reject(new PlatformError('qemu.command_failed', `qemu-img map failed: ${stderr.trim().slice(0, 1000)}`))
      } else {
        reject(new PlatformError('qemu.start_failed', `qemu-img map did not run: ${error.message}`, { cause: error }))
      }
    })
  })
}
