import { createHash, randomBytes } from 'node:crypto'
import { S3Refusal } from './s3-answer.ts'

const PART_MIN_BYTES = 5 * 1024 * 1024

export interface Lock {
  readonly mode: 'COMPLIANCE' | 'GOVERNANCE'
  readonly retainUntil: Date
}

export interface Version {
  readonly versionId: string
  readonly body: Uint8Array
  readonly etag: string
  readonly lastModified: Date
  readonly isDeleteMarker: boolean
  lock?: Lock | undefined
  legalHold: boolean
}

export interface ObjectLockHeaders {
  readonly lock?: Lock | undefined
  readonly legalHold?: boolean
}

interface Upload extends ObjectLockHeaders {
  readonly key: string
  readonly parts: Map<number, { readonly body: Uint8Array; readonly etag: string }>
}

/**
 * A bucket: Amazon S3 User Guide, "Retaining multiple versions of objects with S3 Versioning", "Locking objects with Object
 * Lock", "Uploading and copying objects using multipart upload".
 */
export class S3Bucket {
  readonly versioned: boolean
  readonly objectLock: boolean
  readonly #now: () => Date
  /** Newest first. */
  readonly #objects = new Map<string, Version[]>()
  readonly #uploads = new Map<string, Upload>()

  constructor({ versioned, objectLock, now }: { versioned: boolean; objectLock: boolean; now: () => Date }) {
    this.versioned = versioned || objectLock
    this.objectLock = objectLock
    this.#now = now
  }

  get uploadCount(): number {
    return this.#uploads.size
  }

  /** Every version of every key, in the order of listings. */
  versions(): { readonly key: string; readonly version: Version; readonly isLatest: boolean }[] {
    return [...this.#objects.keys()]
      .toSorted((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)))
      .flatMap((key) =>
        (this.#objects.get(key) ?? []).map((version, index) => ({ key, version, isLatest: index === 0 })),
      )
  }

  /** Refuses with NoSuchKey, NoSuchVersion, or MethodNotAllowed for a delete marker that is named. */
  get(key: string, versionId?: string): Version {
    const versions = this.#objects.get(key) ?? []
    const [latest] = versions
    if (versionId === undefined) {
      if (latest !== undefined && !latest.isDeleteMarker) return latest
      throw new S3Refusal(404, 'NoSuchKey', 'The specified key does not exist.')
    }
    const found = versions.find((version) => version.versionId === versionId)
    if (found === undefined) throw new S3Refusal(404, 'NoSuchVersion', 'The specified version does not exist.')
    if (!found.isDeleteMarker) return found
    throw new S3Refusal(405, 'MethodNotAllowed', 'The specified method is not allowed against this resource.')
  }

  exists(key: string): boolean {
    return this.#objects.get(key)?.[0]?.isDeleteMarker === false
  }

  put(key: string, body: Uint8Array, headers: ObjectLockHeaders, etag = md5(body)): Version {
    this.expectLock(headers)
    return this.#add(key, { body, etag, isDeleteMarker: false, ...headers, legalHold: headers.legalHold ?? false })
  }

  /** Without a version: a delete marker where versions are kept. Deleting what is not there is fine. */
  delete(key: string, versionId: string | undefined, { bypass }: { bypass: boolean }): Version | undefined {
    if (versionId === undefined && this.versioned) {
      return this.#add(key, { body: new Uint8Array(), etag: '', isDeleteMarker: true, legalHold: false })
    }
    const versions = this.#objects.get(key) ?? []
    const found = versions.find((version) => version.versionId === (versionId ?? 'null'))
    if (found === undefined) return undefined
    this.#expectUnlocked(found, bypass)
    const left = versions.filter((version) => version !== found)
    if (left.length === 0) this.#objects.delete(key)
    else this.#objects.set(key, left)
    return found
  }

  setRetention(version: Version, lock: Lock, { bypass }: { bypass: boolean }): void {
    this.expectLock({ lock })
    const present = version.lock
    const isHeld = present !== undefined && present.retainUntil > this.#now()
    const isWeaker = isHeld && (lock.retainUntil < present.retainUntil || lock.mode !== present.mode)
    if (isWeaker && !(present.mode === 'GOVERNANCE' && bypass)) throw accessDenied()
    version.lock = lock
  }

  /** Refuses lock headers that are wrong, or that the bucket does not take. */
  expectLock({ lock, legalHold }: ObjectLockHeaders): void {
    if (lock === undefined && legalHold === undefined) return
    if (!this.objectLock) throw new S3Refusal(400, 'InvalidRequest', 'Bucket is missing Object Lock Configuration')
    if (lock !== undefined && lock.retainUntil <= this.#now()) {
      throw new S3Refusal(400, 'InvalidArgument', 'The retain until date must be in the future!')
    }
  }

  startUpload(key: string, headers: ObjectLockHeaders): string {
    this.expectLock(headers)
    const uploadId = randomBytes(20).toString('hex')
    this.#uploads.set(uploadId, { key, parts: new Map(), ...headers })
    return uploadId
  }

  /** @param checked the request held a checksum of its body, which an upload with a lock demands of each part */
  putPart(
    key: string,
    uploadId: string,
    partNumber: number,
    body: Uint8Array,
    { checked }: { checked: boolean },
  ): string {
    if (!Number.isInteger(partNumber) || partNumber < 1 || partNumber > 10_000) {
      throw new S3Refusal(400, 'InvalidArgument', 'Part number must be an integer between 1 and 10000, inclusive')
    }
    const upload = this.#upload(key, uploadId)
    if (upload.lock !== undefined && !checked) {
      const text =
        'Content-MD5 OR x-amz-checksum- HTTP header is required for Put Part requests with Object Lock parameters'
      throw new S3Refusal(400, 'InvalidRequest', text)
    }
    const etag = md5(body)
    upload.parts.set(partNumber, { body, etag })
    return etag
  }

  completeUpload(key: string, uploadId: string, listed: readonly { partNumber: number; etag: string }[]): Version {
    const upload = this.#upload(key, uploadId)
    if (listed.length === 0) throw new S3Refusal(400, 'MalformedXML', 'You must specify at least one part')
    if (listed.some(({ partNumber }, index) => (listed[index - 1]?.partNumber ?? 0) >= partNumber)) {
      throw new S3Refusal(400, 'InvalidPartOrder', 'The list of parts was not in ascending order.')
    }
    const bodies = listed.map(({ partNumber, etag }, index) => {
      const part = upload.parts.get(partNumber)
      if (part === undefined || part.etag !== etag.replaceAll('"', '')) {
        throw new S3Refusal(400, 'InvalidPart', 'One or more of the specified parts could not be found.')
      }
      if (index < listed.length - 1 && part.body.length < PART_MIN_BYTES) {
        throw new S3Refusal(400, 'EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size')
      }
      return part.body
    })
    const digests = Buffer.concat(listed.map(({ etag }) => Buffer.from(etag.replaceAll('"', ''), 'hex')))
    const { lock, legalHold } = upload
    const headers = { ...(lock === undefined ? {} : { lock }), ...(legalHold === undefined ? {} : { legalHold }) }
    const version = this.put(key, Buffer.concat(bodies), headers, `${md5(digests)}-${listed.length}`)
    this.#uploads.delete(uploadId)
    return version
  }

  abortUpload(key: string, uploadId: string): void {
    this.#upload(key, uploadId)
    this.#uploads.delete(uploadId)
  }

  #upload(key: string, uploadId: string): Upload {
    const upload = this.#uploads.get(uploadId)
    if (upload !== undefined && upload.key === key) return upload
    throw new S3Refusal(404, 'NoSuchUpload', 'The specified multipart upload does not exist.')
  }

  #add(key: string, facts: Omit<Version, 'versionId' | 'lastModified'>): Version {
    const versionId = this.versioned ? randomBytes(16).toString('base64url') : 'null'
    const version: Version = { versionId, lastModified: this.#now(), ...facts }
    const older = this.versioned ? (this.#objects.get(key) ?? []) : []
    this.#objects.set(key, [version, ...older])
    return version
  }

  #expectUnlocked({ lock, legalHold }: Version, bypass: boolean): void {
    if (legalHold) throw accessDenied()
    if (lock === undefined || lock.retainUntil <= this.#now()) return
    if (!(bypass && lock.mode === 'GOVERNANCE')) throw accessDenied()
  }
}

export function md5(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('hex')
}

function accessDenied(): S3Refusal {
  return new S3Refusal(403, 'AccessDenied', 'Access Denied because object protected by object lock.')
}
