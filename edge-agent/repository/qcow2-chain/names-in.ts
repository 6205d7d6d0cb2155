import { readdir } from 'node:fs/promises'

/** Names of what lies in a directory; none where there is no such directory. Errors of the system pass untranslated. */
export async function namesIn(dir: string): Promise<string[]> {
  try {
    return await readdir(dir)
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return []
    throw error
  }
}
