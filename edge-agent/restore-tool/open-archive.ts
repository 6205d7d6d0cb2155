import { stat } from 'node:fs/promises'
import path from 'node:path'
import type { CallOptions } from '../block/block-source.ts'
import { readStorage } from '../cli/read-storage.ts'
import { type ObjectStoreConfig, parseStoreConfig } from '../object-store/object-store-config.ts'
import { openObjectStore } from '../object-store/open-object-store.ts'
import type { Archive } from './archive.ts'
import { isChainRepository, openChainArchive } from './chain-archive/open-chain-archive.ts'
import { openChunkArchive } from './chunk-archive/open-chunk-archive.ts'
import type { SecretReader } from './secret-reader.ts'

export interface OpenArchiveOptions extends CallOptions {
  /** A directory, a URL, or a file with settings. */
  readonly storage: string
  readonly secret: SecretReader
  readonly ringIdentity?: string | undefined
  readonly anySigner: boolean
}

/**
 * Opens the repository in a storage, whichever kind it is of. Nothing in it is changed.
 * Rejects with `config.invalid`, `input.invalid`, `repository.*`, `storage.*`.
 */
export async function openArchive({ storage, signal, ...options }: OpenArchiveOptions): Promise<Archive> {
  const config = await storageConfig(storage)
  if (config.kind === 'directory' && (await isChainRepository(config.directory))) {
    return await openChainArchive({ directory: config.directory, ...options }, { signal })
  }
  const store = await openObjectStore(config, { signal, readOnly: true })
  return await openChunkArchive({ store, ...options }, { signal })
}

async function storageConfig(storage: string): Promise<ObjectStoreConfig> {
  const found = await stat(storage).catch(() => undefined)
  if (found?.isDirectory() !== true) return await readStorage(storage)
  return parseStoreConfig({ kind: 'directory', directory: path.resolve(storage) })
}
