import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Extent } from '@sendense/shared/domain/extent.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemCode } from '@sendense/shared/runtime/system-code.ts'

const ZEROS = new Uint8Array(4 * 1024 * 1024)

/** What zeros need: a new file has them already, a device has what was on it. */
export type ZeroNeed = 'are-there' | 'must-be-written'

/**
 * A raw image in the making. Under its own name it exists only once it is whole and durable; before that it has the ending
 * `.partial`. A block device is written in place.
 */
export class RawOutput implements AsyncDisposable {
  readonly zeros: ZeroNeed
  readonly #handle: FileHandle
  readonly #file: string
  /** Undefined for devices and once it is whole. */
  #partial: string | undefined

  private constructor(handle: FileHandle, file: string, partial: string | undefined) {
    this.#handle = handle
    this.#file = file
    this.#partial = partial
    this.zeros = partial === undefined ? 'must-be-written' : 'are-there'
  }

  /**
   * @param file must not be there, unless `force` lets it be replaced; a device is only written with `force`
   * Rejects with `input.invalid`, `target.no_space`, `target.write_failed`.
   */
  static async create(file: string, options: { readonly sizeBytes: number; readonly force: boolean }) {
    const { sizeBytes, force } = options
    const isDevice = await expectFree(file, force)
    const partial = isDevice ? undefined : `${file}.partial`
    return await writing(file, async () => {
      const handle = await open(partial ?? file, isDevice ? 'r+' : 'w', 0o600)
      const output = new RawOutput(handle, file, partial)
      try {
        if (!isDevice) await handle.truncate(sizeBytes)
        return output
      } catch (error) {
        await output[Symbol.asyncDispose]()
        throw error
      }
    })
  }

  async write(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    await writing(this.#file, async () => {
      for (let at = 0; at < bytes.length;) {
        at += (await this.#handle.write(bytes, at, bytes.length - at, offsetBytes + at)).bytesWritten
      }
    })
  }

  async writeZeros({ offsetBytes, lengthBytes }: Extent): Promise<void> {
    for (let at = 0; at < lengthBytes; at += ZEROS.length) {
      await this.write(offsetBytes + at, ZEROS.subarray(0, lengthBytes - at))
    }
  }

  /** Makes it whole: durable, and under its name. Once. */
  async finish(): Promise<void> {
    await writing(this.#file, async () => {
      await this.#handle.sync()
      if (this.#partial === undefined) return
      await rename(this.#partial, this.#file)
      this.#partial = undefined
      await syncDirectory(path.dirname(this.#file))
    })
  }

  /** What is not whole is removed. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close()
    if (this.#partial !== undefined) await rm(this.#partial, { force: true })
  }
}

/** Whether it is a device. Rejects with `input.invalid` where something is there that was not to be replaced. */
export async function expectFree(file: string, force: boolean): Promise<boolean> {
  const found = await stat(file).catch(() => undefined)
  if (found === undefined) return false
  if (!found.isFile() && !found.isBlockDevice()) {
    throw new PlatformError('input.invalid', `${file} is neither a file nor a block device`)
  }
  if (force) return found.isBlockDevice()
  const text = found.isFile() ? 'is there already' : 'is a device: all that is on it would be lost'
  throw new PlatformError('input.invalid', `${file} ${text}; --force writes it all the same`)
}

export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Rejects with `target.no_space` or `target.write_failed` where the system refuses. */
export async function writing<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const code = systemCode(error)
    if (code === undefined || !(error instanceof Error)) throw error
    const isFull = code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG'
    const text = `cannot write ${file}: ${error.message}`
    throw new PlatformError(isFull ? 'target.no_space' : 'target.write_failed', text, { cause: error })
  }
}
