import { createHash } from 'node:crypto'
import { AzureRefusal } from './azure-answer.ts'

export interface Policy {
  readonly expiresOn: Date
  readonly mode: 'locked' | 'unlocked'
}

export interface BlobVersion {
  readonly versionId: string
  readonly body: Uint8Array
  readonly etag: string
  readonly lastModified: Date
  policy?: Policy | undefined
  legalHold: boolean
}

interface Blob {
  current: BlobVersion | undefined
  /** Oldest first. */
  readonly former: BlobVersion[]
}

/**
 * A container with version-level immutability: "Version-level WORM policies for immutable blob data", "Blob versioning",
 * "Set Blob Immutability Policy", "Delete Blob".
 */
export class ImmutableContainer {
  readonly #now: () => Date
  readonly #blobs = new Map<string, Blob>()
  readonly #blocks = new Map<string, Map<string, Uint8Array>>()
  #count = 0

  constructor(now: () => Date) {
    this.#now = now
  }

  /** In the order of listings: by name, then from the oldest version to the newest. */
  versions(): { readonly name: string; readonly version: BlobVersion; readonly isCurrent: boolean }[] {
    const names = [...this.#blobs.keys()].toSorted((left, right) => (left < right ? -1 : 1))
    return names.flatMap((name) => {
      const { current, former } = this.#blobs.get(name) ?? { current: undefined, former: [] }
      const all = current === undefined ? former : [...former, current]
      return all.map((version) => ({ name, version, isCurrent: version === current }))
    })
  }

  get(name: string, versionId?: string): BlobVersion {
    const blob = this.#blobs.get(name)
    const found =
      versionId === undefined
        ? blob?.current
        : [blob?.current, ...(blob?.former ?? [])].find((version) => version?.versionId === versionId)
    if (found === undefined) throw new AzureRefusal(404, 'BlobNotFound', 'The specified blob does not exist.')
    return found
  }

  /** What was there becomes a former version and keeps its protection. */
  put(name: string, body: Uint8Array, policy: Policy | undefined): BlobVersion {
    if (policy !== undefined) this.#expectFuture(policy)
    const blob = this.#blobs.get(name) ?? { current: undefined, former: [] }
    this.#blobs.set(name, blob)
    if (blob.current !== undefined) blob.former.push(blob.current)
    const lastModified = this.#now()
    this.#count += 1
    const versionId = lastModified.toISOString().replace('Z', `${String(this.#count % 10_000).padStart(4, '0')}Z`)
    const etag = `0x${createHash('sha256').update(versionId).digest('hex').slice(0, 15).toUpperCase()}`
    blob.current = { versionId, body, etag, lastModified, policy, legalHold: false }
    return blob.current
  }

  stageBlock(name: string, id: string, body: Uint8Array): void {
    const blocks = this.#blocks.get(name) ?? new Map<string, Uint8Array>()
    const [other] = blocks.keys()
    if (other !== undefined && other.length !== id.length) throw new AzureRefusal(400, 'InvalidBlobOrBlock')
    blocks.set(id, body)
    this.#blocks.set(name, blocks)
  }

  commitBlocks(name: string, ids: readonly string[], policy: Policy | undefined): BlobVersion {
    const blocks = this.#blocks.get(name)
    const bodies = ids.map((id) => {
      const body = blocks?.get(id)
      if (body === undefined) throw new AzureRefusal(400, 'InvalidBlockList', 'The specified block list is invalid.')
      return body
    })
    const version = this.put(name, Buffer.concat(bodies), policy)
    this.#blocks.delete(name)
    return version
  }

  /** Without a version the current one becomes a former one; with one, that is gone for good. */
  delete(name: string, versionId: string | undefined): void {
    const found = this.get(name, versionId)
    const blob = this.#blobs.get(name)
    if (blob === undefined) return
    if (versionId !== undefined && found === blob.current) {
      throw new AzureRefusal(
        403,
        'OperationNotAllowedOnRootBlob',
        'The operation is not allowed on the current version.',
      )
    }
    if (found.legalHold) throw new AzureRefusal(409, 'BlobImmutableDueToLegalHold')
    if (this.#isActive(found.policy)) throw new AzureRefusal(409, 'BlobImmutableDueToPolicy')
    if (versionId === undefined) {
      blob.former.push(found)
      blob.current = undefined
      return
    }
    blob.former.splice(blob.former.indexOf(found), 1)
    if (blob.former.length === 0 && blob.current === undefined) this.#blobs.delete(name)
  }

  setPolicy(version: BlobVersion, policy: Policy): void {
    this.#expectFuture(policy)
    const { policy: present } = version
    if (present?.mode === 'locked' && this.#isActive(present)) {
      const isExtended = policy.mode === 'locked' && policy.expiresOn >= present.expiresOn
      if (!isExtended) throw new AzureRefusal(409, 'BlobImmutableDueToPolicy', 'A locked policy can only be extended.')
    }
    version.policy = policy
  }

  deletePolicy(version: BlobVersion): void {
    if (version.policy?.mode === 'locked') throw new AzureRefusal(409, 'BlobImmutableDueToPolicy')
    version.policy = undefined
  }

  #isActive(policy: Policy | undefined): boolean {
    return policy !== undefined && policy.expiresOn > this.#now()
  }

  #expectFuture({ expiresOn }: Policy): void {
    if (expiresOn > this.#now()) return
    throw new AzureRefusal(
      400,
      'InvalidHeaderValue',
      'The value for x-ms-immutability-policy-until-date is in the past.',
    )
  }
}
