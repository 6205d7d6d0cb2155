import path from 'node:path'
import { systemCode } from '@sendense/shared/runtime/system-code.ts'
import { isObjectKey } from '../object-key.ts'
import type { CallOptions } from '../object-store.ts'
import type { StoreFiles } from './store-files.ts'

/**
 * Keys below a directory in the order of their bytes, without reading folders in which none can match. Folders sort
 * with the slash behind their name, as they do in a key: `a-b` comes before `a/b`.
 */
export async function* walkKeys(
  files: StoreFiles,
  root: string,
  { prefix, after = '', signal }: CallOptions & { prefix: string; after?: string | undefined },
): AsyncGenerator<string> {
  yield* walkFolder('')

  async function* walkFolder(folder: string): AsyncGenerator<string> {
    for (const name of await namesIn(folder)) {
      signal.throwIfAborted()
      const key = folder + name
      if (!name.endsWith('/')) {
        if (key.startsWith(prefix) && key > after && isObjectKey(key)) yield key
      } else if (isObjectKey(key.slice(0, -1)) && mayHold(key)) yield* walkFolder(key)
    }
  }

  function mayHold(folder: string): boolean {
    const isOnTheWay = folder.startsWith(prefix) || prefix.startsWith(folder)
    return isOnTheWay && (folder > after || after.startsWith(folder))
  }

  async function namesIn(folder: string): Promise<string[]> {
    try {
      const names = await files.list(path.join(root, folder), { signal })
      return names.toSorted(byCodeUnits)
    } catch (error) {
      if (systemCode(error) === 'ENOENT' && folder !== '') return [] // its last object has just been deleted
      throw error
    }
  }
}

function byCodeUnits(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0
}
