import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { systemCode } from '@sendense/shared/runtime/system-code.ts'
import { untilAborted } from '@sendense/shared/runtime/until-aborted.ts'
import type { CallOptions } from '../object-store.ts'
import type { StoreFile, StoreFiles } from './store-files.ts'

const SMALL_FILE_MAX_BYTES = 64 * 1024
const REMOVE_TIMEOUT_MS = 10_000

/**
 * Directories whose names are durable. One that exists may have been made a moment ago by a call that has not synced it
 * yet, so each is synced once before it is trusted.
 */
export class DurableDirectories {
  readonly #files: StoreFiles
  readonly #root: string
  readonly #known = new Set<string>()

  /** @param root exists, and its own name is not our concern */
  constructor(files: StoreFiles, root: string) {
    this.#files = files
    this.#root = root
  }

  /** Makes a directory below the root with all between them, durably. */
  async make(directory: string, options: CallOptions): Promise<void> {
    if (directory === this.#root || this.#known.has(directory)) return
    await this.make(path.dirname(directory), options)
    try {
      await this.#files.makeDirectory(directory, options)
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error
    }
    await this.#files.syncDirectory(path.dirname(directory), options)
    this.#known.add(directory)
  }

  /** Removes a directory and those above it, up to the root, as long as they are empty. */
  async prune(directory: string, options: CallOptions): Promise<void> {
    for (let empty = directory; empty !== this.#root; empty = path.dirname(empty)) {
      this.#known.delete(empty)
      try {
        await this.#files.removeDirectory(empty, options)
      } catch (error) {
        const code = systemCode(error)
        // POSIX lets rmdir(2) answer EEXIST for ENOTEMPTY.
        if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOENT') return
        throw error
      }
    }
  }

  /** What somebody else removed is made again by the next `make`. */
  forget(directory: string): void {
    for (let gone = directory; gone.length > this.#root.length; gone = path.dirname(gone)) this.#known.delete(gone)
  }
}

/** A small file appears under its name whole and durable, or not at all. Replaces one that is there. */
export async function createDurably(
  files: StoreFiles,
  file: string,
  content: string,
  options: CallOptions,
): Promise<void> {
  const temporary = `${file}~${randomUUID()}`
  try {
    await usingFile(await files.create(temporary, options), options, async (opened) => {
      await opened.append(Buffer.from(content), options)
      await opened.sync(options)
    })
    await files.rename(temporary, file, options)
  } catch (error) {
    await removeQuietly(files, temporary)
    throw error
  }
  await files.syncDirectory(path.dirname(file), options)
}

/** Undefined where there is none. */
export async function readSmallFile(
  files: StoreFiles,
  file: string,
  options: CallOptions,
): Promise<string | undefined> {
  let opened: StoreFile
  try {
    opened = await files.open(file, options)
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined
    throw error
  }
  return await usingFile(opened, options, async () => {
    const buffer = Buffer.alloc(SMALL_FILE_MAX_BYTES)
    const lengthBytes = await opened.read(0, buffer, options)
    return buffer.toString('utf8', 0, lengthBytes)
  })
}

/** Closes the file in the end. An error of the work is told rather than one of the closing. */
export async function usingFile<T>(
  file: StoreFile,
  options: CallOptions,
  work: (file: StoreFile) => Promise<T>,
): Promise<T> {
  // Who has gone still wants it closed.
  const close = async (): Promise<void> => await file.close({ signal: new AbortController().signal })
  let result: T
  try {
    result = await work(file)
  } catch (error) {
    // It may be the reason itself why the file cannot be closed: nobody waits for that.
    close().catch(() => {})
    throw error
  }
  await untilAborted(close(), options.signal)
  return result
}

/** For what is of no use any more; what cannot be removed now is removed as a leftover later. */
export async function removeQuietly(files: StoreFiles, file: string): Promise<void> {
  try {
    await files.remove(file, { signal: AbortSignal.timeout(REMOVE_TIMEOUT_MS) })
  } catch {
    // A leftover is harmless, and there is an error that says more.
  }
}
