import {
  GetBucketVersioningCommand,
  GetObjectCommand,
  GetObjectLockConfigurationCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
} from '@aws-sdk/client-s3'
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
  ObjectVersions,
  PutOptions,
  Retention,
} from '../object-store.ts'
import { downloadRange, downloadWhole } from '../ranged-download.ts'
import { parseSettings } from '../store-settings.ts'
import { S3StoreConfig, type S3StoreSettings } from './s3-config.ts'
import { deleteObject, deleteVersions } from './s3-delete.ts'
import { rangesOfObject } from './s3-download.ts'
import { openS3Immutability } from './s3-immutability.ts'
import { S3Session } from './s3-session.ts'
import { uploadObject } from './s3-upload.ts'
import { openS3Versions } from './s3-versions.ts'

const OBJECT_MAX_BYTES = 5 * 1024 ** 4

export interface BucketFacts {
  readonly versioned: boolean
  readonly objectLock: boolean
}

/**
 * Opens a bucket. What it offers depends on the bucket: versions where they are kept, immutability where Object Lock is on.
 * Rejects with `storage.container_missing`, `storage.credentials_invalid`, `storage.access_denied` or what the network says.
 */
export async function openS3Store(
  settings: S3StoreSettings,
  { signal, clock = systemClock }: CallOptions & { clock?: Pick<Clock, 'now'> },
): Promise<S3Store> {
  const session = new S3Session(parseSettings(S3StoreConfig, settings, 'bucket'))
  try {
    return new S3Store(session, await askBucket(session, { signal }), clock)
  } catch (error) {
    session[Symbol.dispose]()
    throw error
  }
}

export class S3Store implements ObjectStore {
  readonly description: string
  readonly objectMaxBytes = OBJECT_MAX_BYTES
  readonly immutability?: ObjectImmutability
  readonly versions?: ObjectVersions
  readonly #session: S3Session
  readonly #bucket: BucketFacts

  constructor(session: S3Session, bucket: BucketFacts, clock: Pick<Clock, 'now'>) {
    this.description = session.description
    this.#session = session
    this.#bucket = bucket
    if (bucket.versioned) this.versions = openS3Versions(session)
    if (bucket.objectLock) {
      const put = async (key: string, body: ObjectBody, options: PutOptions & { retention: Retention }) =>
        await this.#put(key, body, options)
      this.immutability = openS3Immutability(session, { put, clock })
    }
  }

  async put(key: string, body: ObjectBody, options: PutOptions): Promise<void> {
    await this.#put(key, body, options)
  }

  async find(key: string, { signal }: CallOptions): Promise<ObjectFacts | undefined> {
    expectObjectKey(key)
    const facts = { signal, what: `finding object ${key}` }
    const command = new HeadObjectCommand(this.#session.path(key))
    try {
      const found = await this.#session.request(facts, async (o) => await this.#session.client.send(command, o))
      return toFacts(key, found.ContentLength, found.LastModified)
    } catch (error) {
      if (!isPlatformError(error, 'storage.not_found')) throw error
      return await this.#findByReading(key, { signal })
    }
  }

  async get(key: string, { signal }: CallOptions): Promise<Uint8Array> {
    expectObjectKey(key)
    return await downloadWhole(key, rangesOfObject(this.#session, key), { signal })
  }

  async read(key: string, offsetBytes: number, into: Uint8Array, { signal }: CallOptions): Promise<void> {
    expectObjectKey(key)
    const isRange = into.length > 0 && Number.isSafeInteger(offsetBytes) && offsetBytes >= 0
    const getRange = rangesOfObject(this.#session, key)
    if (isRange && (await downloadRange(key, getRange, { offsetBytes, into }, { signal })) === 'filled') return
    const facts = await this.find(key, { signal })
    if (facts === undefined) {
      throw new PlatformError('storage.not_found', `there is no object ${key} in ${this.description}`)
    }
    expectInObject(key, facts.sizeBytes, offsetBytes, into.length)
    if (isRange) throw new PlatformError('storage.unavailable', `object ${key} changed while it was read`)
  }

  async *list(prefix: string, { signal, after }: ListOptions): AsyncGenerator<readonly ObjectFacts[]> {
    expectObjectPrefix(prefix)
    const { prefix: base, config } = this.#session
    const what = `listing ${prefix === '' ? 'all objects' : prefix}`
    let token: string | undefined
    do {
      const command = new ListObjectsV2Command({
        Bucket: config.bucket,
        Prefix: base + prefix,
        MaxKeys: config.pageMax,
        ...(token === undefined ? {} : { ContinuationToken: token }),
        ...(after === undefined || token !== undefined ? {} : { StartAfter: base + after }),
      })
      const answer = await this.#session.request(
        { signal, what },
        async (o) => await this.#session.client.send(command, o),
      )
      const page: ObjectFacts[] = []
      for (const { Key = '', Size, LastModified } of answer.Contents ?? []) {
        const key = Key.slice(base.length)
        if (Key.startsWith(base + prefix) && isObjectKey(key)) page.push(toFacts(key, Size, LastModified))
      }
      if (page.length > 0) yield page
      token = nextToken(answer, token, what)
    } while (token !== undefined)
  }

  async delete(key: string, { signal }: CallOptions): Promise<void> {
    expectObjectKey(key)
    if (this.#bucket.versioned) await deleteVersions(this.#session, key, { signal, bypassGovernance: false })
    else await deleteObject(this.#session, key, { signal })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#session[Symbol.dispose]()
  }

  async #put(key: string, body: ObjectBody, options: PutOptions & { retention?: Retention }): Promise<void> {
    options.signal.throwIfAborted()
    expectObjectKey(key)
    expectBody(body, { objectMaxBytes: OBJECT_MAX_BYTES, sha256: options.sha256 })
    const { retention } = options
    const uploaded = await uploadObject(this.#session, key, body, { ...options, contentMd5: this.#bucket.objectLock })
    if (retention === undefined || uploaded === 'whole') return
    // Ceph 16 forgets the retention that it is told when an upload in parts begins.
    if ((await this.immutability?.findRetention(key, options)) !== undefined) return
    await this.immutability?.setRetention(key, retention, options)
  }

  /** The answer to HEAD has no body to tell an absent object from an absent bucket: the one to GET has. */
  async #findByReading(key: string, { signal }: CallOptions): Promise<ObjectFacts | undefined> {
    const facts = { signal, what: `finding object ${key}` }
    try {
      const found = await this.#session.request(facts, async (options) => {
        const answer = await this.#session.client.send(new GetObjectCommand(this.#session.path(key)), options)
        if (answer.Body !== undefined && 'destroy' in answer.Body) answer.Body.destroy()
        return answer
      })
      return toFacts(key, found.ContentLength, found.LastModified)
    } catch (error) {
      if (isPlatformError(error, 'storage.not_found')) return undefined
      throw error
    }
  }
}

/** What a bucket says of itself. */
export async function askBucket(session: S3Session, { signal }: CallOptions): Promise<BucketFacts> {
  const { client, config } = session
  const Bucket = config.bucket
  const versioning = await session.request(
    { signal, what: 'asking for versioning (s3:GetBucketVersioning)' },
    async (o) => await client.send(new GetBucketVersioningCommand({ Bucket }), o),
  )
  // Suspended versioning keeps the versions that are there.
  if (versioning.Status === undefined) return { versioned: false, objectLock: false }
  const what = 'asking for Object Lock (s3:GetBucketObjectLockConfiguration)'
  try {
    const lock = await session.request(
      { signal, what },
      async (o) => await client.send(new GetObjectLockConfigurationCommand({ Bucket }), o),
    )
    return { versioned: true, objectLock: lock.ObjectLockConfiguration?.ObjectLockEnabled === 'Enabled' }
  } catch (error) {
    const isNone =
      isPlatformError(error) && error.details['httpStatus'] === 404 && error.code !== 'storage.container_missing'
    if (isNone || isPlatformError(error, 'storage.unsupported')) return { versioned: true, objectLock: false }
    throw error
  }
}

function nextToken(
  answer: { IsTruncated?: boolean | undefined; NextContinuationToken?: string | undefined },
  before: string | undefined,
  what: string,
): string | undefined {
  if (answer.IsTruncated !== true) return undefined
  const next = answer.NextContinuationToken
  if (next !== undefined && next !== before) return next
  throw new PlatformError('storage.refused', `${what}: there is said to be more, but not where it begins`)
}

function toFacts(key: string, sizeBytes: number | undefined, modifiedAt: Date | undefined): ObjectFacts {
  if (sizeBytes === undefined || modifiedAt === undefined) {
    throw new PlatformError('storage.refused', `object ${key} came without a size or a date`)
  }
  return { key, sizeBytes, modifiedAt }
}
