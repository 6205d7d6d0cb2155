import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { type Clock, systemClock } from '@sendense/shared/runtime/clock.ts'
import { expectBody, expectInObject } from '../object-body.ts'
import { expectObjectKey, expectObjectPrefix, isObjectKey } from '../object-key.ts'
import type {
  CallOptions,
  ListOptions,
  ObjectBody,
  ObjectFacts,
  ObjectImmutability,
  ObjectStore,
  ObjectTiers,
  ObjectVersions,
  PutOptions,
} from '../object-store.ts'
import { downloadRange, downloadWhole } from '../ranged-download.ts'
import { parseSettings } from '../store-settings.ts'
import { AzureStoreConfig, type AzureStoreSettings } from './azure-config.ts'
import { deleteBlob, deleteVersions } from './azure-delete.ts'
import { rangesOfBlob } from './azure-download.ts'
import { openAzureImmutability } from './azure-immutability.ts'
import { AzureSession } from './azure-session.ts'
import { openAzureTiers } from './azure-tiers.ts'
import { type AzurePut, uploadBlob } from './azure-upload.ts'
import { openAzureVersions } from './azure-versions.ts'

/** "Scalability targets for Blob storage": 50,000 blocks of 4000 MiB. */
const OBJECT_MAX_BYTES = 50_000 * 4000 * 1024 ** 2

export interface ContainerFacts {
  /** Version-level immutability is on, and with it versioning. */
  readonly immutable: boolean
  /** Blobs have access tiers: not on premium accounts. */
  readonly tiered: boolean
}

/**
 * Opens a container. Immutability is there where the container has version-level immutability, tiers where the account is
 * known to have them. Rejects with `storage.container_missing`, `storage.credentials_invalid`, `storage.access_denied` or
 * what the network says.
 */
export async function openAzureStore(
  settings: AzureStoreSettings,
  { signal, clock = systemClock }: CallOptions & { clock?: Pick<Clock, 'now'> },
): Promise<AzureStore> {
  const session = new AzureSession(parseSettings(AzureStoreConfig, settings, 'container'))
  return new AzureStore(session, await askContainer(session, { signal }), clock)
}

export class AzureStore implements ObjectStore {
  readonly description: string
  readonly objectMaxBytes = OBJECT_MAX_BYTES
  readonly immutability?: ObjectImmutability
  readonly versions?: ObjectVersions
  readonly tiers?: ObjectTiers
  readonly #session: AzureSession
  readonly #clock: Pick<Clock, 'now'>
  /** Whether the account keeps versions: an answer has told so. */
  #versioned: boolean

  constructor(session: AzureSession, container: ContainerFacts, clock: Pick<Clock, 'now'>) {
    this.description = session.description
    this.#session = session
    this.#clock = clock
    this.#versioned = container.immutable
    if (container.tiered) this.tiers = openAzureTiers(session)
    if (!container.immutable) return
    this.versions = openAzureVersions(session)
    const put: ObjectImmutability['put'] = async (key, body, options) => await this.#put(key, body, options)
    this.immutability = openAzureImmutability(session, { put, clock })
  }

  async put(key: string, body: ObjectBody, options: PutOptions): Promise<void> {
    await this.#put(key, body, options)
  }

  async find(key: string, { signal }: CallOptions): Promise<ObjectFacts | undefined> {
    expectObjectKey(key)
    try {
      return await this.#session.request({ signal, what: `finding object ${key}` }, async ({ abortSignal }) => {
        const found = await this.#session.blob(key).getProperties({ abortSignal })
        this.#versioned ||= found.versionId !== undefined
        return toFacts(key, found.contentLength, found.lastModified)
      })
    } catch (error) {
      if (isPlatformError(error, 'storage.not_found')) return undefined
      throw error
    }
  }

  async get(key: string, { signal }: CallOptions): Promise<Uint8Array> {
    expectObjectKey(key)
    return await downloadWhole(key, rangesOfBlob(this.#session, key), { signal })
  }

  async read(key: string, offsetBytes: number, into: Uint8Array, { signal }: CallOptions): Promise<void> {
    expectObjectKey(key)
    const isRange = into.length > 0 && Number.isSafeInteger(offsetBytes) && offsetBytes >= 0
    const getRange = rangesOfBlob(this.#session, key)
    if (isRange && (await downloadRange(key, getRange, { offsetBytes, into }, { signal })) === 'filled') return
    const facts = await this.find(key, { signal })
    if (facts === undefined) {
      throw new PlatformError('storage.not_found', `there is no object ${key} in ${this.description}`)
    }
    expectInObject(key, facts.sizeBytes, offsetBytes, into.length)
    if (isRange) throw new PlatformError('storage.unavailable', `object ${key} changed while it was read`)
  }

  async *list(prefix: string, { signal, after = '' }: ListOptions): AsyncGenerator<readonly ObjectFacts[]> {
    expectObjectPrefix(prefix)
    const { prefix: base, config, container } = this.#session
    const what = `listing ${prefix === '' ? 'all objects' : prefix}`
    const pages = container
      .listBlobsFlat({ prefix: base + prefix, abortSignal: signal })
      .byPage({ maxPageSize: config.pageMax })
    for (;;) {
      const next = await this.#session.request({ signal, what }, async () => await pages.next())
      if (next.done === true) return
      const page = next.value.segment.blobItems
        .map(({ name, properties }) =>
          toFacts(name.slice(base.length), properties.contentLength, properties.lastModified),
        )
        .filter(({ key }) => key.startsWith(prefix) && key > after && isObjectKey(key))
      if (page.length > 0) yield page
    }
  }

  async delete(key: string, { signal }: CallOptions): Promise<void> {
    expectObjectKey(key)
    if (!this.#versioned) await this.find(key, { signal })
    const options = { signal, bypassGovernance: false, clock: this.#clock }
    if (this.#versioned) await deleteVersions(this.#session, key, options)
    else await deleteBlob(this.#session, key, { signal })
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #put(key: string, body: ObjectBody, options: AzurePut): Promise<void> {
    options.signal.throwIfAborted()
    expectObjectKey(key)
    expectBody(body, { objectMaxBytes: OBJECT_MAX_BYTES, sha256: options.sha256 })
    const versionId = await uploadBlob(this.#session, key, body, options)
    this.#versioned ||= versionId !== undefined
  }
}

/** What a container says of itself. */
export async function askContainer(session: AzureSession, { signal }: CallOptions): Promise<ContainerFacts> {
  const { container } = session
  const found = await session.request({ signal, what: 'asking for the container' }, async ({ abortSignal }) =>
    container.getProperties({ abortSignal }),
  )
  const immutable = found.isImmutableStorageWithVersioningEnabled === true
  try {
    const account = await session.request({ signal, what: 'asking for the account' }, async ({ abortSignal }) =>
      container.getAccountInfo({ abortSignal }),
    )
    return { immutable, tiered: account.accountKind === 'StorageV2' || account.accountKind === 'BlobStorage' }
  } catch (error) {
    if (isPlatformError(error) && error.details['httpStatus'] !== undefined && error.retry !== 'backoff') {
      return { immutable, tiered: false }
    }
    throw error
  }
}

function toFacts(key: string, sizeBytes: number | undefined, modifiedAt: Date | undefined): ObjectFacts {
  if (sizeBytes === undefined || modifiedAt === undefined) {
    throw new PlatformError('storage.refused', `object ${key} came without a size or a date`)
  }
  return { key, sizeBytes, modifiedAt }
}
