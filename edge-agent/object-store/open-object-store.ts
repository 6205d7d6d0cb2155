import { readOnlyStore } from './layers/read-only-store.ts'
import { openLocalStore } from './local/local-store.ts'
import type { ObjectStoreConfig } from './object-store-config.ts'
import type { CallOptions, ObjectStore } from './object-store.ts'

export interface OpenStoreOptions extends CallOptions {
  /** The store refuses to change anything, and opening it changes nothing; see LocalStoreOptions. */
  readonly readOnly?: boolean
}

/**
 * Opens the store that a config names, without layers. A directory must be a store already, unless it is only read.
 * Vendors' libraries are loaded where they are needed only: each thread that opens a store loads its own.
 */
export async function openObjectStore(config: ObjectStoreConfig, options: OpenStoreOptions): Promise<ObjectStore> {
  const store = await openDriver(config, options)
  return options.readOnly === true ? readOnlyStore(store) : store
}

async function openDriver(config: ObjectStoreConfig, options: OpenStoreOptions): Promise<ObjectStore> {
  switch (config.kind) {
    case 'directory':
      return await openLocalStore({ ...config, ...options })
    case 's3': {
      const { kind: _, ...settings } = config
      const { openS3Store } = await import('./s3/s3-store.ts')
      return await openS3Store(settings, options)
    }
    case 'azure-blob': {
      const { kind: _, ...settings } = config
      const { openAzureStore } = await import('./azure-blob/azure-store.ts')
      return await openAzureStore(settings, options)
    }
    default:
      return config satisfies never
  }
}
