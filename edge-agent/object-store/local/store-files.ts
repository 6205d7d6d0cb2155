import { type FileHandle, mkdir, open, readdir, rename, rm, rmdir, stat } from 'node:fs/promises'
import type { CallOptions } from '../object-store.ts'

export interface FileFacts {
  readonly kind: 'file' | 'directory' | 'other'
  readonly sizeBytes: number
  readonly modifiedAt: Date
  /** Which file system it is on, and which file it is there. */
  readonly device: bigint
  readonly inode: bigint
}

export interface StoreFile {
  /** Fills as much of `into` as there is; resolves with how many bytes that were, 0 at the end. */
  read(positionBytes: number, into: Uint8Array, options: CallOptions): Promise<number>
  /** Writes all of `bytes` behind what was written before. */
  append(bytes: Uint8Array, options: CallOptions): Promise<void>
  /** Makes its content durable. */
  sync(options: CallOptions): Promise<void>
  stat(options: CallOptions): Promise<FileFacts>
  close(options: CallOptions): Promise<void>
}

/**
 * The file system calls that a local store is built on, one system call each, so that one layer bounds them all in time
 * and tests can lose what was not synced. Errors are the system's, with its `code`.
 */
export interface StoreFiles {
  /** A new file, readable by its owner only; EEXIST where there is one. */
  create(path: string, options: CallOptions): Promise<StoreFile>
  /** To read. */
  open(path: string, options: CallOptions): Promise<StoreFile>
  stat(path: string, options: CallOptions): Promise<FileFacts>
  /** Names in a directory, in no order; directories end with a slash. */
  list(path: string, options: CallOptions): Promise<readonly string[]>
  makeDirectory(path: string, options: CallOptions): Promise<void>
  /** Replaces what is at `to`. */
  rename(from: string, to: string, options: CallOptions): Promise<void>
  remove(path: string, options: CallOptions): Promise<void>
  /** ENOTEMPTY where it is not empty. */
  removeDirectory(path: string, options: CallOptions): Promise<void>
  /** Makes the names in a directory durable. */
  syncDirectory(path: string, options: CallOptions): Promise<void>
}

const FILE_MODE = 0o400
const DIRECTORY_MODE = 0o700

/** The kernel's. A call that hangs there does not end when its signal is aborted. */
export const kernelFiles: StoreFiles = {
  create: async (path) => storeFile(await open(path, 'wx', FILE_MODE)),
  open: async (path) => storeFile(await open(path, 'r')),
  stat: async (path) => fileFacts(await stat(path, { bigint: true })),
  list: async (path) => {
    const entries = await readdir(path, { withFileTypes: true })
    return entries.map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name))
  },
  makeDirectory: async (path) => {
    await mkdir(path, { mode: DIRECTORY_MODE })
  },
  rename: async (from, to) => await rename(from, to),
  remove: async (path) => await rm(path),
  removeDirectory: async (path) => await rmdir(path),
  syncDirectory: async (path) => {
    const handle = await open(path, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  },
}

function storeFile(handle: FileHandle): StoreFile {
  return {
    read: async (positionBytes, into) => (await handle.read(into, 0, into.length, positionBytes)).bytesRead,
    append: async (bytes) => {
      for (let written = 0; written < bytes.length;) {
        written += (await handle.write(bytes, written, bytes.length - written)).bytesWritten
      }
    },
    sync: async () => await handle.sync(),
    stat: async () => fileFacts(await handle.stat({ bigint: true })),
    close: async () => await handle.close(),
  }
}

function fileFacts(found: Awaited<ReturnType<typeof bigintStat>>): FileFacts {
  return {
    kind: found.isFile() ? 'file' : found.isDirectory() ? 'directory' : 'other',
    sizeBytes: Number(found.size),
    modifiedAt: new Date(Number(found.mtimeMs)),
    device: found.dev,
    inode: found.ino,
  }
}

const bigintStat = async (path: string) => await stat(path, { bigint: true })
