import type { ErrorCode } from '@sendense/shared/errors/error-codes.ts'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../../block/block-source.ts'

/** Opens a disk once, at its first use; a failed attempt is made again by the next use. */
export class LazyDisk<T extends AsyncDisposable & { readonly sizeBytes: number }> {
  readonly #open: (options: CallOptions) => Promise<T>
  readonly #sizeBytes: number
  readonly #wrongSize: ErrorCode
  #opened: Promise<T> | undefined
  #isClosed = false
  readonly #closing = new AbortController()

  /** @param expected size of the disk, and the code of the error when it has another */
  constructor(open: (options: CallOptions) => Promise<T>, expected: { sizeBytes: number; wrongSize: ErrorCode }) {
    this.#open = open
    this.#sizeBytes = expected.sizeBytes
    this.#wrongSize = expected.wrongSize
  }

  /** Rejects with what opening rejects with, or the signal's reason. One caller's abort does not end the others' wait. */
  async open({ signal }: CallOptions): Promise<T> {
    signal.throwIfAborted()
    if (this.#isClosed) throw new PlatformError('nbd.disconnected', 'the disk was closed')
    this.#opened ??= this.#openOnce()
    return await untilAborted(this.#opened, signal)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#closing.abort(new PlatformError('nbd.disconnected', 'the disk was closed'))
    const [opened] = await Promise.allSettled([this.#opened])
    if (opened.status === 'fulfilled') await opened.value?.[Symbol.asyncDispose]()
  }

  async #openOnce(): Promise<T> {
    try {
      const disk = await this.#open({ signal: this.#closing.signal })
      if (disk.sizeBytes === this.#sizeBytes) return disk
      await disk[Symbol.asyncDispose]()
      const message = `the export has ${disk.sizeBytes} bytes instead of ${this.#sizeBytes}`
      throw new PlatformError(this.#wrongSize, message)
    } catch (error) {
      this.#opened = undefined
      throw error
    }
  }
}
