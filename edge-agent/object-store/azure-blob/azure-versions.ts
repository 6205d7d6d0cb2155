import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { checkedVersions } from '../checked-versions.ts'
import { isObjectKey } from '../object-key.ts'
import type { CallOptions, ObjectVersion, ObjectVersions, Retention } from '../object-store.ts'
import { rangesOfBlob } from './azure-download.ts'
import type { AzureSession } from './azure-session.ts'

export interface AzureVersion extends ObjectVersion {
  readonly retention: Retention | undefined
  readonly legalHold: boolean
}

/** What an account with versioning keeps of each key. Azure has no delete marks: a deleted blob has no current version. */
export function openAzureVersions(session: AzureSession): ObjectVersions {
  return checkedVersions({
    list: (prefix, options) => listVersions(session, prefix, options),
    rangesOf: (key, versionId) => rangesOfBlob(session, key, versionId),
  })
}

/** Pages of versions with what protects them, newest first within a key. */
export async function* listVersions(
  session: AzureSession,
  prefix: string,
  { signal }: CallOptions,
): AsyncGenerator<readonly AzureVersion[]> {
  const what = `listing the versions of ${prefix === '' ? 'all objects' : prefix}`
  const pages = session.container
    .listBlobsFlat({
      prefix: session.prefix + prefix,
      includeVersions: true,
      includeImmutabilityPolicy: true,
      includeLegalHold: true,
      abortSignal: signal,
    })
    .byPage({ maxPageSize: session.config.pageMax })
  // A key's versions come oldest first and may go over a page's end: they are told when the key is complete.
  let open: AzureVersion[] = []
  for (;;) {
    const next = await session.request({ signal, what }, async () => await pages.next())
    if (next.done === true) break
    const found = next.value.segment.blobItems.map((item) => toVersion(session, item))
    const all = [...open, ...found.filter(({ key }) => key.startsWith(prefix) && isObjectKey(key))]
    const lastKey = all.at(-1)?.key
    open = all.filter(({ key }) => key === lastKey)
    const complete = all.filter(({ key }) => key !== lastKey)
    if (complete.length > 0) yield complete.toSorted(byKeyThenAge)
  }
  if (open.length > 0) yield open.toSorted(byKeyThenAge)
}

interface FoundVersion {
  readonly name: string
  readonly versionId?: string | undefined
  readonly isCurrentVersion?: boolean | undefined
  readonly properties: {
    readonly lastModified: Date
    readonly contentLength?: number | undefined
    readonly immutabilityPolicyExpiresOn?: Date | undefined
    readonly immutabilityPolicyMode?: string | undefined
    readonly legalHold?: boolean | undefined
  }
}

function toVersion(
  { prefix }: AzureSession,
  { name, versionId, isCurrentVersion, properties }: FoundVersion,
): AzureVersion {
  if (versionId === undefined) throw new PlatformError('storage.refused', `a version of ${name} came without an id`)
  return {
    key: name.slice(prefix.length),
    versionId,
    sizeBytes: properties.contentLength ?? 0,
    modifiedAt: properties.lastModified,
    current: isCurrentVersion === true,
    deleteMark: false,
    retention: toRetention(name, properties.immutabilityPolicyExpiresOn, properties.immutabilityPolicyMode),
    legalHold: properties.legalHold === true,
  }
}

/** Undefined where there is no policy. */
export function toRetention(
  key: string,
  until: Date | undefined,
  policyMode: string | undefined,
): Retention | undefined {
  if (until === undefined || policyMode === undefined) return undefined
  const modes: Readonly<Record<string, Retention['mode']>> = { locked: 'compliance', unlocked: 'governance' }
  const mode = modes[policyMode.toLowerCase()]
  if (mode === undefined) {
    throw new PlatformError('storage.refused', `object ${key} has an immutability policy of the mode ${policyMode}`)
  }
  return { mode, retainUntil: until }
}

function byKeyThenAge(left: AzureVersion, right: AzureVersion): number {
  if (left.key !== right.key) return left.key < right.key ? -1 : 1
  if (left.current !== right.current) return left.current ? -1 : 1
  return left.versionId < right.versionId ? 1 : -1
}
