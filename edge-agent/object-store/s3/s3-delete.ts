import { DeleteObjectCommand, GetObjectLegalHoldCommand, GetObjectRetentionCommand } from '@aws-sdk/client-s3'
import { isPlatformError, PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { CallOptions, ObjectVersion } from '../object-store.ts'
import type { S3Session } from './s3-session.ts'
import { listVersions } from './s3-versions.ts'

interface VersionAddress {
  readonly key: string
  readonly versionId: string
}

/** In a bucket without versions. */
export async function deleteObject(session: S3Session, key: string, { signal }: CallOptions): Promise<void> {
  await session.request({ signal, what: `deleting object ${key}` }, async (options) => {
    await session.client.send(new DeleteObjectCommand(session.path(key)), options)
  })
}

/**
 * Deletes every version of a key, the current one last: while an older one is protected, the object stays as it is.
 * Rejects with `storage.immutable` where the store refuses because of a retention or hold.
 */
export async function deleteVersions(
  session: S3Session,
  key: string,
  { signal, bypassGovernance }: CallOptions & { bypassGovernance: boolean },
): Promise<void> {
  for (const version of await versionsOf(session, key, { signal })) {
    const command = new DeleteObjectCommand({
      ...session.path(key),
      VersionId: version.versionId,
      ...(bypassGovernance ? { BypassGovernanceRetention: true } : {}),
    })
    try {
      await session.request(
        { signal, what: `deleting object ${key}` },
        async (o) => await session.client.send(command, o),
      )
    } catch (error) {
      if (isPlatformError(error, 'storage.not_found')) continue
      // The same answer may mean that the key has no right to delete versions (s3:DeleteObjectVersion).
      const isRefusal = isPlatformError(error) && [400, 403, 405, 409].includes(Number(error.details['httpStatus']))
      if (!isRefusal || version.deleteMark) throw error
      const protectedBy = await findProtection(session, version, { signal, bypassGovernance })
      if (protectedBy === undefined) throw error
      const text = `object ${key} cannot be deleted: it is ${protectedBy}`
      throw new PlatformError('storage.immutable', text, { cause: error })
    }
  }
}

/** Oldest first, the current one last. A listing by prefix names longer keys too. */
async function versionsOf(session: S3Session, key: string, options: CallOptions): Promise<ObjectVersion[]> {
  const found: ObjectVersion[] = []
  for await (const page of listVersions(session, key, options)) {
    found.push(...page.filter((version) => version.key === key))
    if (page.some((version) => version.key !== key)) break
  }
  return found.toReversed()
}

/** Undefined where the store says that nothing protects the version, or does not say. */
async function findProtection(
  session: S3Session,
  { key, versionId }: VersionAddress,
  { signal, bypassGovernance }: CallOptions & { bypassGovernance: boolean },
): Promise<string | undefined> {
  const input = { ...session.path(key), VersionId: versionId }
  const what = `asking what protects object ${key}`
  const hold = await session
    .request({ signal, what }, async (o) => await session.client.send(new GetObjectLegalHoldCommand(input), o))
    .catch(ignoreRefusal)
  if (hold?.LegalHold?.Status === 'ON') return 'under legal hold'
  const retention = await session
    .request({ signal, what }, async (o) => await session.client.send(new GetObjectRetentionCommand(input), o))
    .catch(ignoreRefusal)
  const { Mode, RetainUntilDate } = retention?.Retention ?? {}
  // A retention that has ended meanwhile was the reason all the same: the next try may succeed.
  if (Mode === undefined || RetainUntilDate === undefined) return undefined
  if (Mode === 'GOVERNANCE' && bypassGovernance) return undefined
  return `retained in ${Mode.toLowerCase()} mode until ${RetainUntilDate.toISOString()}`
}

/** An answer that is final says that there is none; a server that is busy says nothing. */
function ignoreRefusal(error: unknown): undefined {
  if (isPlatformError(error) && error.retry !== 'backoff' && error.details['httpStatus'] !== undefined) return undefined
  throw error
}
