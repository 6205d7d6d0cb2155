import { ListObjectVersionsCommand } from '@aws-sdk/client-s3'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { checkedVersions } from '../checked-versions.ts'
import { isObjectKey } from '../object-key.ts'
import type { CallOptions, ObjectVersion, ObjectVersions } from '../object-store.ts'
import { rangesOfObject } from './s3-download.ts'
import type { S3Session } from './s3-session.ts'

/** What a bucket with versioning keeps of each key. */
export function openS3Versions(session: S3Session): ObjectVersions {
  return checkedVersions({
    list: (prefix, options) => listVersions(session, prefix, options),
    rangesOf: (key, versionId) => rangesOfObject(session, key, versionId),
  })
}

/** Pages of versions and delete marks under a prefix; newest first within a key. */
export async function* listVersions(
  session: S3Session,
  prefix: string,
  { signal }: CallOptions,
): AsyncGenerator<readonly ObjectVersion[]> {
  const { client, config } = session
  const what = `listing the versions of ${prefix === '' ? 'all objects' : prefix}`
  let next: { KeyMarker?: string; VersionIdMarker?: string } | undefined = {}
  while (next !== undefined) {
    const command: ListObjectVersionsCommand = new ListObjectVersionsCommand({
      Bucket: config.bucket,
      Prefix: session.prefix + prefix,
      MaxKeys: config.pageMax,
      ...next,
    })
    const answer = await session.request({ signal, what }, async (options) => await client.send(command, options))
    const versions = (answer.Versions ?? []).map((found) => toVersion(session, found, false))
    const marks = (answer.DeleteMarkers ?? []).map((found) => toVersion(session, found, true))
    const page = [...versions, ...marks]
      .filter(({ key }) => key.startsWith(prefix) && isObjectKey(key))
      .toSorted((left, right) => byKeyThenAge(left, right))
    if (page.length > 0) yield page
    next = nextMarkers(answer, next, what)
  }
}

function nextMarkers(
  answer: {
    IsTruncated?: boolean | undefined
    NextKeyMarker?: string | undefined
    NextVersionIdMarker?: string | undefined
  },
  before: { KeyMarker?: string; VersionIdMarker?: string },
  what: string,
): { KeyMarker?: string; VersionIdMarker?: string } | undefined {
  if (answer.IsTruncated !== true) return undefined
  const { NextKeyMarker: KeyMarker, NextVersionIdMarker: VersionIdMarker } = answer
  const isSame = KeyMarker === before.KeyMarker && VersionIdMarker === before.VersionIdMarker
  if (KeyMarker === undefined || isSame) {
    throw new PlatformError('storage.refused', `${what}: there is said to be more, but not where it begins`)
  }
  return { KeyMarker, ...(VersionIdMarker === undefined ? {} : { VersionIdMarker }) }
}

interface FoundVersion {
  readonly Key?: string | undefined
  readonly VersionId?: string | undefined
  readonly IsLatest?: boolean | undefined
  readonly LastModified?: Date | undefined
  readonly Size?: number | undefined
}

function toVersion({ prefix }: S3Session, found: FoundVersion, deleteMark: boolean): ObjectVersion {
  const { Key, VersionId, LastModified } = found
  if (Key === undefined || VersionId === undefined || LastModified === undefined) {
    throw new PlatformError('storage.refused', 'a version came without a key, an id or a date')
  }
  const facts = { key: Key.slice(prefix.length), versionId: VersionId, modifiedAt: LastModified }
  return { ...facts, sizeBytes: found.Size ?? 0, current: found.IsLatest === true, deleteMark }
}

/** The current one first; others by their date, which is all that the two lists of an answer share. */
function byKeyThenAge(left: ObjectVersion, right: ObjectVersion): number {
  if (left.key !== right.key) return left.key < right.key ? -1 : 1
  if (left.current !== right.current) return left.current ? -1 : 1
  return right.modifiedAt.getTime() - left.modifiedAt.getTime()
}
