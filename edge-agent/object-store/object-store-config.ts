import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { z } from 'zod'
import { AzureStoreConfig } from './azure-blob/azure-config.ts'
import { S3StoreConfig } from './s3/s3-config.ts'
import { parseSettings } from './store-settings.ts'

const LocalStoreConfig = z.strictObject({
  directory: z.string().startsWith('/'),
  /** Where NFS, iSCSI or another disk must be mounted: the directory or one above it. */
  mountPoint: z.string().startsWith('/').optional(),
  /** Which store must be there. */
  storeId: z.uuid().optional(),
})

/** Where objects are kept, as a file or a setting says it. */
export const ObjectStoreConfig = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('directory'), ...LocalStoreConfig.shape }),
  z.strictObject({ kind: z.literal('s3'), ...S3StoreConfig.shape }),
  z.strictObject({ kind: z.literal('azure-blob'), ...AzureStoreConfig.shape }),
])
export type ObjectStoreConfig = z.infer<typeof ObjectStoreConfig>

/** Keys that are not in a URL, from the environment or from whoever asks. */
export interface StoreCredentials {
  readonly s3?: { readonly accessKeyId: string; readonly secretAccessKey: string; readonly sessionToken?: string }
  readonly azure?: { readonly accountKey: string } | { readonly sasToken: string }
}

/** Throws `config.invalid`, which names the settings. */
export function parseStoreConfig(value: unknown): ObjectStoreConfig {
  return parseSettings(ObjectStoreConfig, value, 'storage')
}

/**
 * `file:///dir?mountPoint=/mnt/nas`, `s3://bucket/prefix?endpoint=https://…&region=…`, `azure://account/container/prefix`.
 * Parameters are the settings of the config. Throws `config.invalid`.
 */
export function parseStoreUrl(text: string, credentials: StoreCredentials): ObjectStoreConfig {
  if (!URL.canParse(text)) throw new PlatformError('config.invalid', `not the URL of a storage: ${text}`)
  const url = new URL(text)
  const settings = Object.fromEntries([...url.searchParams].map(([name, value]) => [name, toSetting(value)]))
  const path = decodeURIComponent(url.pathname)
  switch (url.protocol) {
    case 'file:':
      return parseStoreConfig({ kind: 'directory', directory: path, ...settings })
    case 's3:': {
      if (credentials.s3 === undefined) throw missingKeys('AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY')
      const place = { bucket: url.hostname, ...toPrefix(path), credentials: credentials.s3 }
      return parseStoreConfig({ kind: 's3', ...place, ...settings })
    }
    case 'azure:': {
      if (credentials.azure === undefined) throw missingKeys('AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN')
      const [, container = '', ...rest] = path.split('/')
      const place = { account: url.hostname, container, ...toPrefix(`/${rest.join('/')}`) }
      return parseStoreConfig({ kind: 'azure-blob', ...place, credentials: credentials.azure, ...settings })
    }
    default:
      throw new PlatformError('config.invalid', `${url.protocol} is no storage: file:, s3: and azure: are`)
  }
}

/** `/a/b` and `/a/b/` are the prefix `a/b/`. */
function toPrefix(path: string): { prefix?: string } {
  const inner = path.replaceAll(/^\/+|\/+$/g, '')
  return inner === '' ? {} : { prefix: `${inner}/` }
}

function toSetting(text: string): string | number | boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  return /^\d{1,15}$/.test(text) ? Number(text) : text
}

function missingKeys(names: string): PlatformError {
  return new PlatformError('config.invalid', `the keys of the storage are missing: set ${names}, or use a config file`)
}
