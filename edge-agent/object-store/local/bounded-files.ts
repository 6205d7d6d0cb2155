import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../object-store.ts'
import type { StoreFile, StoreFiles } from './store-files.ts'

export interface BoundedFilesOptions {
  /**
   * Calls in the kernel at a time. Node runs file calls of a whole process on four threads: a mount that hangs must not
   * take the last one from the rest of the agent.
   */
  readonly callsMax: number
  /** After this, waiting for a turn included, a call rejects with `storage.timeout`. */
  readonly timeoutMs: number
}

/**
 * Gives every call a deadline and takes a bounded number of the kernel's attention. A call that the kernel does not
 * answer keeps its place until it does, so that a mount that hangs fails calls after their deadline and does no other harm.
 * What a call would have written to by then is given up: callers pass no buffer that somebody else uses later.
 */
export function boundedFiles(files: StoreFiles, options: BoundedFilesOptions): StoreFiles {
  const turns = new Turns(options)
  const call = async <T>(what: string, work: () => Promise<T>, { signal }: CallOptions): Promise<T> =>
    await turns.take(what, work, signal)
  const bounded = (file: StoreFile, path: string): StoreFile => ({
    read: async (position, into, o) => await call(`reading ${path}`, async () => await file.read(position, into, o), o),
    append: async (bytes, o) => await call(`writing ${path}`, async () => await file.append(bytes, o), o),
    sync: async (o) => await call(`syncing ${path}`, async () => await file.sync(o), o),
    stat: async (o) => await call(`looking at ${path}`, async () => await file.stat(o), o),
    close: async (o) => await call(`closing ${path}`, async () => await file.close(o), o),
  })
  const opened = async (path: string, work: () => Promise<StoreFile>, { signal }: CallOptions) => {
    const closeLate = async (late: StoreFile): Promise<void> => await late.close({ signal })
    return bounded(await turns.take(`opening ${path}`, work, signal, closeLate), path)
  }
  return {
    create: async (path, o) => await opened(path, async () => await files.create(path, o), o),
    open: async (path, o) => await opened(path, async () => await files.open(path, o), o),
    stat: async (path, o) => await call(`looking at ${path}`, async () => await files.stat(path, o), o),
    list: async (path, o) => await call(`listing ${path}`, async () => await files.list(path, o), o),
    makeDirectory: async (path, o) => await call(`making ${path}`, async () => await files.makeDirectory(path, o), o),
    rename: async (from, to, o) => await call(`renaming to ${to}`, async () => await files.rename(from, to, o), o),
    remove: async (path, o) => await call(`removing ${path}`, async () => await files.remove(path, o), o),
    removeDirectory: async (path, o) =>
      await call(`removing ${path}`, async () => await files.removeDirectory(path, o), o),
    syncDirectory: async (path, o) => await call(`syncing ${path}`, async () => await files.syncDirectory(path, o), o),
  }
}

/** A number of places; who has none waits in the order of coming. */
class Turns {
  readonly #options: BoundedFilesOptions
  readonly #waiting = new Set<() => void>()
  #running = 0

  constructor(options: BoundedFilesOptions) {
    this.#options = options
  }

  /** @param onLate takes what the work resolved with after its caller had gone */
  async take<T>(
    what: string,
    work: () => Promise<T>,
    signal: AbortSignal,
    onLate?: (result: T) => Promise<void>,
  ): Promise<T> {
    signal.throwIfAborted()
    const { timeoutMs } = this.#options
    const deadline = new AbortController()
    const timer = setTimeout(() => {
      const text = `${what} was not done within ${timeoutMs} ms`
      deadline.abort(new PlatformError('storage.timeout', text, { details: { timeoutMs } }))
    }, timeoutMs)
    const either = AbortSignal.any([signal, deadline.signal])
    let running: Promise<T> | undefined
    try {
      await this.#turn(either)
      running = work().finally(() => this.#leave())
      return await untilAborted(running, either)
    } catch (error) {
      if (onLate !== undefined) running?.then(onLate).catch(() => {})
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  async #turn(signal: AbortSignal): Promise<void> {
    while (this.#running >= this.#options.callsMax) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#waiting.add(resolve)
      try {
        await untilAborted(promise, signal)
      } finally {
        this.#waiting.delete(resolve)
      }
    }
    this.#running += 1
  }

  #leave(): void {
    this.#running -= 1
    const [next] = this.#waiting
    if (next !== undefined) {
      this.#waiting.delete(next)
      next()
    }
  }
}
