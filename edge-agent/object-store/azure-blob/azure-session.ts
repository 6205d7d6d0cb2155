import {
  AnonymousCredential,
  type BlobClient,
  type BlockBlobClient,
  ContainerClient,
  newPipeline,
  StorageSharedKeyCredential,
} from '@azure/storage-blob'
import type { CallOptions } from '../object-store.ts'
import { type RequestOptions, withRequestDeadline } from '../request-deadline.ts'
import type { AzureStoreConfig } from './azure-config.ts'
import { toAzureError } from './azure-errors.ts'

/** Requests to one container: each with a deadline, each error translated. No retries: a layer does that. */
export class AzureSession {
  readonly config: AzureStoreConfig
  readonly container: ContainerClient
  readonly description: string
  /** What stands in front of every key. */
  readonly prefix: string

  constructor(config: AzureStoreConfig) {
    this.config = config
    this.prefix = config.prefix ?? ''
    const { account, credentials } = config
    const endpoint = (config.endpoint ?? `https://${account}.blob.core.windows.net`).replace(/\/$/, '')
    this.description = `container ${config.container} at ${new URL(endpoint).host}`
    const isKey = 'accountKey' in credentials
    const credential = isKey
      ? new StorageSharedKeyCredential(account, credentials.accountKey)
      : new AnonymousCredential()
    const query = isKey ? '' : `?${credentials.sasToken.replace(/^\?/, '')}`
    const pipeline = newPipeline(credential, { retryOptions: { maxTries: 1 } })
    this.container = new ContainerClient(`${endpoint}/${config.container}${query}`, pipeline)
  }

  blob(key: string, versionId?: string): BlobClient {
    const client = this.container.getBlobClient(this.prefix + key)
    return versionId === undefined ? client : client.withVersion(versionId)
  }

  blockBlob(key: string): BlockBlobClient {
    return this.container.getBlockBlobClient(this.prefix + key)
  }

  /** @param work sends with the signal that it is given, and reads the answer's body to its end */
  async request<T>(
    facts: CallOptions & { readonly what: string; readonly bytes?: number },
    work: (options: RequestOptions) => Promise<T>,
  ): Promise<T> {
    const what = `${facts.what} in ${this.description}`
    const timeoutMs = this.config.requestTimeoutMs
    return await withRequestDeadline({ ...facts, what, timeoutMs, translate: toAzureError }, work)
  }
}
