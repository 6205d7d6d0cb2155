import path from 'node:path'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { systemCode } from '@sendense/shared/runtime/system-code.ts'
import type { CallOptions } from '../object-store.ts'
import type { FileFacts, StoreFiles } from './store-files.ts'
import { findMarker, type StoreMarker } from './store-marker.ts'

export interface MountExpectation {
  readonly directory: string
  /** Where NFS, iSCSI or another disk must be mounted: the directory itself or one above it. Absent: not asked for. */
  readonly mountPoint?: string | undefined
  /** Which store must be there. Absent: any. */
  readonly storeId?: string | undefined
}

/**
 * Whether a directory is on a file system of its own, mounted at `mountPoint`: its device is another than that of the
 * directory above. Rejects with `storage.mount_missing`, or what the file system answers.
 */
export async function expectMounted(
  files: StoreFiles,
  { directory, mountPoint }: MountExpectation,
  options: CallOptions,
): Promise<void> {
  const here = await statDirectory(files, directory, options)
  if (mountPoint === undefined) return
  const relative = path.relative(mountPoint, directory)
  if (relative.startsWith('..') || path.isAbsolute(relative)) {
    throw new PlatformError('config.invalid', `${directory} is not below its mount point ${mountPoint}`)
  }
  const mount = await statDirectory(files, mountPoint, options)
  const above = await statDirectory(files, path.dirname(mountPoint), options)
  if (mount.device === above.device) {
    throw new PlatformError('storage.mount_missing', `nothing is mounted at ${mountPoint}`)
  }
  if (here.device !== mount.device) {
    throw new PlatformError('storage.mount_missing', `something else is mounted between ${mountPoint} and ${directory}`)
  }
}

/**
 * Knows the directory of an open store again. A mount that went away leaves an empty directory behind, on the system's
 * own disk: without this, objects would be written there, and everything that was stored would look deleted.
 */
export class MountGuard {
  readonly #files: StoreFiles
  readonly #expected: MountExpectation & { readonly storeId: string }
  #here: FileFacts

  private constructor(files: StoreFiles, expected: MountExpectation & { readonly storeId: string }, here: FileFacts) {
    this.#files = files
    this.#expected = expected
    this.#here = here
  }

  /** @param marker what was read from the directory just now */
  static async open(
    files: StoreFiles,
    expected: MountExpectation,
    marker: StoreMarker,
    options: CallOptions,
  ): Promise<MountGuard> {
    expectStore(expected, marker)
    const here = await statDirectory(files, expected.directory, options)
    return new MountGuard(files, { ...expected, storeId: marker.storeId }, here)
  }

  /** Rejects with `storage.mount_missing` or `storage.wrong_store` unless the directory is still the store's. */
  async expectHere(options: CallOptions): Promise<void> {
    const now = await statDirectory(this.#files, this.#expected.directory, options)
    if (now.device === this.#here.device && now.inode === this.#here.inode) return
    // Mounted again: NFS and others get a new device number then.
    await expectMounted(this.#files, this.#expected, options)
    const marker = await findMarker(this.#files, this.#expected.directory, options)
    if (marker === undefined) {
      throw new PlatformError('storage.mount_missing', `the store is no longer mounted at ${this.#expected.directory}`)
    }
    expectStore(this.#expected, marker)
    this.#here = now
  }
}

function expectStore({ directory, storeId }: MountExpectation, marker: StoreMarker): void {
  if (storeId === undefined || storeId === marker.storeId) return
  throw new PlatformError('storage.wrong_store', `${directory} is store ${marker.storeId}, not ${storeId}`)
}

async function statDirectory(files: StoreFiles, directory: string, options: CallOptions): Promise<FileFacts> {
  let found: FileFacts
  try {
    found = await files.stat(directory, options)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
    throw new PlatformError('storage.mount_missing', `there is no directory ${directory}`, { cause: error })
  }
  if (found.kind === 'directory') return found
  throw new PlatformError('storage.mount_missing', `${directory} is not a directory`)
}
