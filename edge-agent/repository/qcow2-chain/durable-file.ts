import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Makes a file's content durable. */
export async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Makes the names in a directory durable: what was created in, renamed into or removed from it. */
export async function syncDirectory(path: string): Promise<void> {
  await syncFile(path)
}

/** Makes a directory below `root`, which exists, with all between them, durably. */
export async function makeDirectoryDurably(root: string, path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  const above = dirname(first)
  for (let made = path; made !== above && made.length > root.length; made = dirname(made)) {
    await syncDirectory(dirname(made))
  }
}

/**
 * A file appears under its name whole and durable, or not at all. Replaces one that is there.
 * @param temporaryPath where it is written first; on the same file system
 * @param onWritten called when the content is durable and the name is not there yet
 */
export async function writeDurably(
  path: string,
  content: Uint8Array | string,
  temporaryPath: string,
  onWritten?: () => void,
): Promise<void> {
  try {
    const file = await open(temporaryPath, 'w', 0o600)
    try {
      await file.writeFile(content)
      await file.sync()
    } finally {
      await file.close()
    }
    onWritten?.()
    await rename(temporaryPath, path)
  } catch (error) {
    await rm(temporaryPath, { force: true })
    throw error
  }
  await syncDirectory(dirname(path))
}
