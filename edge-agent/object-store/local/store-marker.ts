import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import type { CallOptions } from '../object-store.ts'
import { createDurably, DurableDirectories, readSmallFile } from './durable-files.ts'
import type { StoreFiles } from './store-files.ts'

/** What is the driver's own below the directory of a store. No object key begins with a dot. */
export const OWN_FOLDER = '.sendense'

/** `.sendense/store.json`: says that the directory is a store, and which one. */
const StoreMarker = z.strictObject({
  version: z.literal(1),
  storeId: z.uuid(),
  /** Whether objects can be retained here; chosen when the store is made. */
  worm: z.boolean(),
})
export type StoreMarker = z.infer<typeof StoreMarker>

/** Undefined where there is none. Rejects with `storage.wrong_store` when it cannot be understood. */
export async function findMarker(
  files: StoreFiles,
  directory: string,
  options: CallOptions,
): Promise<StoreMarker | undefined> {
  const file = markerPath(directory)
  const text = await readSmallFile(files, file, options)
  if (text === undefined) return undefined
  try {
    return StoreMarker.parse(JSON.parse(text))
  } catch (error) {
    throw new PlatformError(
      'storage.wrong_store',
      `${file} cannot be understood; restore it or take an empty directory`,
      {
        cause: error,
      },
    )
  }
}

/**
 * Makes an empty directory a store. Rejects with `storage.wrong_store` when something is there: the files of others are not
 * mixed with objects.
 */
export async function createMarker(
  files: StoreFiles,
  directory: string,
  { worm, storeId = randomUUID(), signal }: CallOptions & { worm: boolean; storeId?: string | undefined },
): Promise<StoreMarker> {
  // A new ext4 file system has lost+found; an earlier start may have been cut short before the marker.
  const others = (await files.list(directory, { signal })).filter(
    (name) => name !== 'lost+found/' && name !== `${OWN_FOLDER}/`,
  )
  if (others.length > 0) {
    const text = `${directory} is no store and not empty (${others.slice(0, 3).join(', ')}): take an empty directory`
    throw new PlatformError('storage.wrong_store', text)
  }
  const marker: StoreMarker = { version: 1, storeId, worm }
  await new DurableDirectories(files, directory).make(path.join(directory, OWN_FOLDER), { signal })
  await createDurably(files, markerPath(directory), JSON.stringify(marker), { signal })
  return marker
}

function markerPath(directory: string): string {
  return path.join(directory, OWN_FOLDER, 'store.json')
}
