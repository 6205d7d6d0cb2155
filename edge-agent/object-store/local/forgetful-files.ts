import { randomUUID } from 'node:crypto'
import { link, mkdir, rename, rm, stat, truncate } from 'node:fs/promises'
import path from 'node:path'
import type { StoreFile, StoreFiles } from './store-files.ts'

export interface ForgetfulFiles extends StoreFiles {
  /**
   * What a power cut does: content that was not synced is cut in half, and names that were not synced are as they
   * were before; or, with `keepNames`, the names had reached the disk by chance before the content did. Both happen on
   * file systems of today. Open files must not be used afterwards.
   */
  loseUnsynced(options: { keepNames: boolean }): Promise<void>
}

interface NameChange {
  /** Whose fsync makes the change durable. */
  readonly directory: string
  readonly undo: () => Promise<unknown>
}

/**
 * Passes everything on to `files` and knows what of it has not been synced, for tests of crashes.
 * @param asideDirectory on the same file system, outside the store: keeps what was removed or replaced
 */
export function createForgetfulFiles(files: StoreFiles, asideDirectory: string): ForgetfulFiles {
  const changes: NameChange[] = []
  const unsynced = new Map<string, { syncedBytes: number }>()
  /** The content under a name, to be put back; undefined where there is none. */
  const keepAside = async (file: string): Promise<string | undefined> => {
    const aside = path.join(asideDirectory, randomUUID())
    try {
      await link(file, aside)
      return aside
    } catch {
      return undefined
    }
  }
  const remember = (file: StoreFile, created: string): StoreFile => {
    const state = { syncedBytes: 0 }
    unsynced.set(created, state)
    let sizeBytes = 0
    return {
      ...file,
      append: async (bytes, options) => {
        sizeBytes += bytes.length
        await file.append(bytes, options)
      },
      sync: async (options) => {
        await file.sync(options)
        state.syncedBytes = sizeBytes
      },
    }
  }
  return {
    ...files,
    create: async (file, options) => {
      const created = await files.create(file, options)
      changes.push({ directory: path.dirname(file), undo: async () => await rm(file, { force: true }) })
      return remember(created, file)
    },
    makeDirectory: async (directory, options) => {
      await files.makeDirectory(directory, options)
      const undo = async (): Promise<void> => await rm(directory, { recursive: true, force: true })
      changes.push({ directory: path.dirname(directory), undo })
    },
    rename: async (from, to, options) => {
      const replaced = await keepAside(to)
      await files.rename(from, to, options)
      const state = unsynced.get(from)
      if (state !== undefined) {
        unsynced.delete(from)
        unsynced.set(to, state)
      }
      const undo = async (): Promise<void> => {
        await rename(to, from)
        if (state !== undefined) {
          unsynced.delete(to)
          unsynced.set(from, state)
        }
        if (replaced !== undefined) await rename(replaced, to)
      }
      changes.push({ directory: path.dirname(to), undo })
    },
    remove: async (file, options) => {
      const removed = await keepAside(file)
      await files.remove(file, options)
      const undo = async (): Promise<void> => {
        if (removed !== undefined) await rename(removed, file)
      }
      changes.push({ directory: path.dirname(file), undo })
    },
    removeDirectory: async (directory, options) => {
      await files.removeDirectory(directory, options)
      changes.push({ directory: path.dirname(directory), undo: async () => await mkdir(directory) })
    },
    syncDirectory: async (directory, options) => {
      await files.syncDirectory(directory, options)
      for (let index = changes.length - 1; index >= 0; index -= 1) {
        if (changes[index]?.directory === directory) changes.splice(index, 1)
      }
    },
    loseUnsynced: async ({ keepNames }) => {
      for (const change of keepNames ? [] : changes.toReversed()) await change.undo()
      changes.length = 0
      for (const [file, { syncedBytes }] of unsynced) await cutUnsynced(file, syncedBytes)
      unsynced.clear()
    },
  }
}

async function cutUnsynced(file: string, syncedBytes: number): Promise<void> {
  const size = await stat(file).then(
    (found) => found.size,
    () => 0,
  )
  if (size > syncedBytes) await truncate(file, syncedBytes + Math.floor((size - syncedBytes) / 2))
}
